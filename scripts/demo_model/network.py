"""The parts of the pipeline, and a batched forward for training that uses their own parameters.

The transformer's own forward takes lists of pictures and captions of any size. In training every picture of a batch
has the same size and every caption the same padded length, so plain tensors do: about ten times faster.
`difference` compares the two.
"""

from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own custom
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from diffusers.models.transformers.transformer_z_image import ZImageTransformerBlock
from torch import Tensor, nn
from torch._dynamo import maybe_mark_dynamic
from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

BF16 = torch.bfloat16
WIDTH, HEADS, LAYERS = 192, 4, 5
TEXT_WIDTH, TEXT_LAYERS = 128, 2  # the pipeline reads the states before the last layer: one layer works
CELL = 32  # the transformer pads pictures and captions to multiples of this many tokens


def new_transformer() -> ZImageTransformer2DModel:
    """Make the transformer; its last layer starts at zero, so that it predicts nothing at first."""
    axis = WIDTH // HEADS // 3
    model = ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=16,
        dim=WIDTH,
        n_layers=LAYERS,
        n_refiner_layers=1,
        n_heads=HEADS,
        n_kv_heads=HEADS,
        cap_feat_dim=TEXT_WIDTH,
        axes_dims=[axis] * 3,
        axes_lens=[1536, 512, 512],
    )
    last = model.all_final_layer["2-1"].linear
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    nn.init.normal_(model.x_pad_token, std=0.02)
    nn.init.normal_(model.cap_pad_token, std=0.02)
    return model


def new_text_encoder(vocabulary: int) -> Qwen3Model:
    """Make the text encoder."""
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=TEXT_WIDTH // 2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )
    return Qwen3Model(config)


def pipeline(transformer: nn.Module, text_encoder: nn.Module, vae: AutoencoderKL, tokenizer: Path) -> ZImagePipeline:
    """Put the parts together."""
    pipe = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=False),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=AutoTokenizer.from_pretrained(tokenizer, local_files_only=True),
        transformer=transformer,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _rms(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs of neighbours by an angle (rotary positions, Su et al. 2021, arXiv 2104.09864)."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def _block(
    x: Tensor, modulation: tuple[Tensor, ...], angles: tuple[Tensor, Tensor], weights: tuple[Tensor, ...]
) -> Tensor:
    """One transformer block: attention and a gated feed-forward, both with modulated norms. x: batch, tokens, width."""
    scale_a, gate_a, scale_f, gate_f = modulation
    norm1, norm2, norm3, norm4, norm_q, norm_k, w_qkv, w_out, w_in, w_down = weights
    batch, tokens, width = x.shape
    h = (_rms(x, norm1) * scale_a).to(BF16)
    q, k, v = F.linear(h, w_qkv).float().view(batch, tokens, 3, HEADS, width // HEADS).unbind(2)
    q, k = (_rotate(_rms(t, w), *angles).to(BF16).transpose(1, 2) for t, w in ((q, norm_q), (k, norm_k)))
    a = F.scaled_dot_product_attention(q, k, v.to(BF16).transpose(1, 2)).transpose(1, 2).reshape(batch, tokens, width)
    x = x + gate_a * _rms(F.linear(a, w_out).float(), norm2)
    h = (_rms(x, norm3) * scale_f).to(BF16)
    gate, up = F.linear(h, w_in).float().chunk(2, -1)
    return x + gate_f * _rms(F.linear((F.silu(gate) * up).to(BF16), w_down).float(), norm4)


class Batched:
    """The training forward: `model(x, t, tokens, mask)`."""

    def __init__(self, transformer: ZImageTransformer2DModel, text_encoder: Qwen3Model, *, compiled: bool) -> None:
        self.transformer, self.text_encoder = transformer, text_encoder
        self.block = torch.compile(_block) if compiled else _block
        config = transformer.config
        tables = transformer.rope_embedder.precompute_freqs_cis(
            config.axes_dims, config.axes_lens, theta=config.rope_theta
        )
        self.tables = [table.to(transformer.device) for table in tables]
        self.angles: dict[tuple[int, int, int], list[tuple[Tensor, Tensor]]] = {}

    def _run(
        self, block: ZImageTransformerBlock, x: Tensor, condition: Tensor | None, angles: tuple[Tensor, Tensor]
    ) -> Tensor:
        a, f = block.attention, block.feed_forward
        if condition is None:
            modulation = (x.new_ones(x.shape[0], 1, x.shape[2]),) * 4
        else:
            scale_a, gate_a, scale_f, gate_f = block.adaLN_modulation[0](condition).unsqueeze(1).chunk(4, -1)
            modulation = (1 + scale_a, gate_a.tanh(), 1 + scale_f, gate_f.tanh())
        norms = (block.attention_norm1, block.attention_norm2, block.ffn_norm1, block.ffn_norm2, a.norm_q, a.norm_k)
        matrices = (
            torch.cat((a.to_q.weight, a.to_k.weight, a.to_v.weight)),
            a.to_out[0].weight,
            torch.cat((f.w1.weight, f.w3.weight)),
            f.w2.weight,
        )
        for tensor in (x, *modulation):  # one program for every batch size and number of tokens
            maybe_mark_dynamic(tensor, 0)
        for tensor, dimension in ((x, 1), (angles[0], 0), (angles[1], 0)):
            maybe_mark_dynamic(tensor, dimension)
        return self.block(x, modulation, angles, (*(n.weight for n in norms), *(m.to(BF16) for m in matrices)))

    def _positions(self, length: int, height: int, width: int) -> list[tuple[Tensor, Tensor]]:
        """Angles for the picture's tokens, for the caption's, and for both: captions count up, pictures are a plane."""
        key = (length, height, width)
        if key not in self.angles:
            device = self.tables[0].device
            plane = torch.cartesian_prod(torch.tensor([length + 1]), torch.arange(height), torch.arange(width))
            plane = torch.cat((plane, torch.zeros(-height * width % CELL, 3, dtype=torch.long))).to(device)
            line = F.pad(torch.arange(1, length + 1)[:, None], (0, 2)).to(device)
            self.angles[key] = []
            for ids in (plane, line, torch.cat((plane, line))):
                turn = torch.cat([table[ids[:, i]] for i, table in enumerate(self.tables)], -1)[:, None]
                self.angles[key].append((turn.real.contiguous(), turn.imag.contiguous()))
        return self.angles[key]

    def _text(self, tokens: Tensor) -> Tensor:
        """Read a caption with all layers but the last. Padding follows the words, so causal attention never sees it."""
        encoder = self.text_encoder
        h = encoder.embed_tokens(tokens)
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        angles = encoder.rotary_emb(h, positions)
        with torch.autocast(tokens.device.type, dtype=BF16):
            for layer in encoder.layers[:-1]:
                out = layer(h, attention_mask=None, position_ids=positions, position_embeddings=angles)
                h = out[0] if isinstance(out, tuple) else out
        return h.float()

    def __call__(self, x: Tensor, t: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Predict picture minus noise. x: noisy latents; t: 0 is noise, 1 the picture; tokens, mask: captions."""
        m = self.transformer
        batch, channels, height, width = x.shape
        h, w, length = height // 2, width // 2, tokens.shape[1]
        in_picture, in_caption, in_both = self._positions(length, h, w)
        condition = m.t_embedder(t * m.t_scale)
        patches = x.view(batch, channels, h, 2, w, 2).permute(0, 2, 4, 3, 5, 1).reshape(batch, h * w, 4 * channels)
        p = m.all_x_embedder["2-1"](patches)
        if missing := -h * w % CELL:
            p = torch.cat((p, m.x_pad_token.expand(batch, missing, -1)), 1)
        for block in m.noise_refiner:
            p = self._run(block, p, condition, in_picture)
        c = torch.where(mask[..., None], m.cap_embedder(self._text(tokens)), m.cap_pad_token)
        for block in m.context_refiner:
            c = self._run(block, c, None, in_caption)
        both = torch.cat((p, c), 1)
        for block in m.layers:
            both = self._run(block, both, condition, in_both)
        out = m.all_final_layer["2-1"](both[:, : h * w], c=condition)
        return out.view(batch, h, w, 2, 2, channels).permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


@torch.no_grad()
def difference(model: Batched, x: Tensor, t: Tensor, tokens: Tensor, mask: Tensor) -> float:
    """Compare with the classes' own forward: the largest difference as a share of the largest value."""
    ours = model(x, t, tokens, mask)
    states = model.text_encoder(input_ids=tokens, attention_mask=mask, output_hidden_states=True).hidden_states[-2]
    texts = [state[keep] for state, keep in zip(states, mask, strict=True)]
    theirs = torch.stack(model.transformer(list(x.unsqueeze(2)), t, texts, return_dict=False)[0]).squeeze(2)
    return float((ours - theirs).abs().max() / theirs.abs().max())
