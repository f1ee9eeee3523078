"""`/sdapi/v1`: the requests that clients of A1111's API send, and the fields that they read."""

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.factories import authentication, fake
from tests.pictures import A_FOX, exif_with, jpeg_of, jpeg_with, user_comment
from tests.waiting import wait_until
from zimage_cache.accounts.limits import Rate
from zimage_cache.generator.fake import FAKE_PROFILE, FakeGenerator
from zimage_cache.i18n.messages import Message
from zimage_cache.metadata.container import read_container

ANN, BEN = ("ann", "of ann"), ("ben", "of ben")
LINES = ("ann:of ann", "ben:of ben")
STEPS, GUIDANCE = FAKE_PROFILE.steps, FAKE_PROFILE.guidance_scale

# What the clients send, with a small size and a seed where they let the user set one.
OPEN_WEBUI = {
    "prompt": "a lighthouse",
    "batch_size": 1,
    "width": 64,
    "height": 64,
    "steps": 50,
    "negative_prompt": "blurry",
    "seed": 11,  # from the JSON of "Additional Parameters"
}
SILLYTAVERN = {
    "url": "http://127.0.0.1:7860",
    "auth": "",
    "prompt": "a lighthouse",
    "negative_prompt": "blurry",
    "sampler_name": "DPM++ 2M",
    "scheduler": "automatic",
    "steps": 20,
    "cfg_scale": 7,
    "width": 64,
    "height": 64,
    "restore_faces": False,
    "enable_hr": False,
    "hr_upscaler": "None",
    "hr_scale": 2,
    "hr_additional_modules": [],
    "denoising_strength": 0.7,
    "hr_second_pass_steps": 0,
    "seed": 12,
    "override_settings": {"CLIP_stop_at_last_layers": 1},
    "override_settings_restore_afterwards": True,
    "clip_skip": 1,
    "save_images": True,
    "send_images": True,
    "do_not_save_grid": False,
    "do_not_save_samples": False,
}
LIBRECHAT = {
    "prompt": "a lighthouse",
    "negative_prompt": "semi-realistic, cgi",
    "sampler_index": "DPM++ 2M Karras",
    "cfg_scale": 4.5,
    "steps": 22,
    "width": 64,
    "height": 64,
}
# Every field of A1111's own request, with its default.
ALL_FIELDS = {
    "prompt": "a lighthouse",
    "negative_prompt": "",
    "styles": [],
    "seed": 13,
    "subseed": -1,
    "subseed_strength": 0,
    "seed_resize_from_h": -1,
    "seed_resize_from_w": -1,
    "sampler_name": None,
    "scheduler": None,
    "batch_size": 1,
    "n_iter": 1,
    "steps": 50,
    "cfg_scale": 7.0,
    "width": 64,
    "height": 64,
    "restore_faces": None,
    "tiling": None,
    "do_not_save_samples": False,
    "do_not_save_grid": False,
    "eta": None,
    "denoising_strength": None,
    "s_min_uncond": None,
    "s_churn": None,
    "s_tmax": None,
    "s_tmin": None,
    "s_noise": None,
    "override_settings": None,
    "override_settings_restore_afterwards": True,
    "refiner_checkpoint": None,
    "refiner_switch_at": None,
    "disable_extra_networks": False,
    "firstpass_image": None,
    "comments": None,
    "enable_hr": False,
    "firstphase_width": 0,
    "firstphase_height": 0,
    "hr_scale": 2.0,
    "hr_upscaler": None,
    "hr_second_pass_steps": 0,
    "hr_resize_x": 0,
    "hr_resize_y": 0,
    "hr_checkpoint_name": None,
    "hr_sampler_name": None,
    "hr_scheduler": None,
    "hr_prompt": "",
    "hr_negative_prompt": "",
    "force_task_id": None,
    "sampler_index": "Euler",
    "script_name": None,
    "script_args": [],
    "send_images": True,
    "save_images": False,
    "alwayson_scripts": {},
    "infotext": None,
}


def ask(house: Any, auth: tuple[str, str] | None = None, **fields: Any) -> httpx.Response:
    """Ask for a small picture."""
    body = {"prompt": "a red circle", "width": 64, "height": 64, "seed": 7} | fields
    return house.client.post("/sdapi/v1/txt2img", json=body, auth=auth)


def info_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    info = answer.json()["info"]
    assert isinstance(info, str)
    return json.loads(info)


def get(house: Any, name: str, **options: Any) -> Any:
    answer = house.client.get(f"/sdapi/v1/{name}", **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def pool():
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture
def shared(serve, tmp_path, gate):
    """A server of two users whose pictures of the seed 1 wait before their second step."""
    generator = FakeGenerator(preview=b"jpeg")
    return serve(gate(2, only={1}), generator=generator, web={"authentication": authentication(tmp_path, *LINES)})


@pytest.mark.parametrize("body", [OPEN_WEBUI, SILLYTAVERN, ALL_FIELDS], ids=["open_webui", "sillytavern", "a1111"])
def test_the_same_request_is_a_hit(serve, body):
    """Sent twice, a request with a seed is drawn once; both answers have the same bytes, seed and text."""
    house = serve()
    first, second = (house.client.post("/sdapi/v1/txt2img", json=body) for _ in range(2))
    house.stored()
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit-memory")
    assert first.headers["x-seed"] == second.headers["x-seed"] == str(body["seed"])
    assert first.json()["images"] == second.json()["images"]
    assert info_of(first)["infotexts"] == info_of(second)["infotexts"]
    assert info_of(first)["ignored"] == []
    assert len(house.studio.generator.recipes) == 1


def test_what_open_webui_reads(serve):
    """`images` holds base64 without a `data:` prefix, one for each of `batch_size`; `info` is there."""
    answer = serve().client.post("/sdapi/v1/txt2img", json=OPEN_WEBUI | {"batch_size": 2}).json()
    files = [base64.b64decode(image, validate=True) for image in answer["images"]]
    assert [file[:8] for file in files] == [b"\x89PNG\r\n\x1a\n"] * 2
    assert "," not in answer["images"][0]
    assert isinstance(answer["info"], str)


def test_what_librechat_reads(serve):
    """`info` has size and seed, and a text for each picture whose last line holds the settings; that is in the file."""
    house = serve()
    answer = house.client.post("/sdapi/v1/txt2img", json=LIBRECHAT)
    info = info_of(answer)
    assert (info["width"], info["height"]) == (64, 64)
    assert info["infotexts"][0].split("\n")[-1].startswith(f"Steps: {STEPS}, Sampler: DPM++ 2M, CFG scale: 1, Seed: ")
    assert f"Seed: {info['seed']}," in info["infotexts"][0]
    file = base64.b64decode(answer.json()["images"][0].split(",", 1)[0])
    assert read_container(file).texts["parameters"] == info["infotexts"][0]
    # Its sampler's name has a schedule, which is not offered.
    assert info["ignored"] == ["scheduler"]


@pytest.mark.parametrize("body", [OPEN_WEBUI, SILLYTAVERN, LIBRECHAT], ids=["open_webui", "sillytavern", "librechat"])
def test_a_picture_costs_what_the_model_is_made_for(serve, body):
    """Whatever steps and CFG a client has as its habit, the model's own are used, and `info` says so."""
    house = serve()
    info = info_of(house.client.post("/sdapi/v1/txt2img", json=body))
    (recipe,) = house.studio.generator.recipes
    assert (recipe.steps, recipe.guidance_scale) == (STEPS, GUIDANCE)
    assert (info["steps"], info["cfg_scale"]) == (STEPS, GUIDANCE + 1)
    assert f"{STEPS} steps and CFG scale 1" in info["notes"][0]


@pytest.mark.parametrize(
    ("cfg", "guidance"), [(4.5, 3.5), (1, 0.0), (0, 0.0), (1.1, 0.1), (-2, 0.0), (21, 20.0), (None, GUIDANCE)]
)
def test_exact_steps_and_guidance(serve, cfg, guidance):
    """With `zimage_exact`, steps are those of the request, and the guidance is CFG - 1, but not below 0."""
    house = serve()
    info = info_of(ask(house, steps=5, cfg_scale=cfg, override_settings={"zimage_exact": True}))
    (recipe,) = house.studio.generator.recipes
    assert (recipe.steps, recipe.guidance_scale) == (5, guidance)
    assert (info["steps"], info["cfg_scale"], info["notes"]) == (5, guidance + 1, [])


def test_the_models_own_values_are_no_deviation(house):
    """A request for what would be drawn anyway gets no note."""
    assert info_of(ask(house, steps=STEPS, cfg_scale=GUIDANCE + 1))["notes"] == []


@pytest.mark.parametrize(
    ("name", "label", "noted"),
    [
        ("Euler", "Euler", False),
        ("euler", "Euler", False),
        ("Heun", "Heun", False),
        ("UniPC", "UniPC", False),
        ("DPM++ 2M", "DPM++ 2M", False),
        ("dpmpp_2m", "DPM++ 2M", False),
        ("", "Euler", False),
        ("Euler a", "Euler", True),
        ("DPM++ SDE Karras", "Euler", True),
        ("LCM", "Euler", True),
        ("none of them", "Euler", True),
    ],
)
def test_samplers(house, name, label, noted):
    """Names in other tools' spellings are known; one that is not offered means the first, which `info` says."""
    info = info_of(ask(house, sampler_name=name))
    assert info["sampler_name"] == label
    assert any(repr(name) in note for note in info["notes"]) == noted


def test_a_random_seed_is_told(house):
    """With -1, or without a seed, each answer is a new picture, and its concrete seed asks for it again."""
    first, second = (ask(house, prompt="by chance", **seed) for seed in ({"seed": -1}, {"seed": None}))
    seeds = [info_of(each)["seed"] for each in (first, second)]
    assert seeds[0] != seeds[1]
    assert min(seeds) >= 0
    assert [first.headers["x-cache"], first.headers["x-seed"]] == ["miss", str(seeds[0])]
    again = ask(house, prompt="by chance", seed=seeds[0])
    assert again.headers["x-cache"].startswith("hit")
    assert again.json()["images"] == first.json()["images"]


@pytest.mark.parametrize("counts", [{"batch_size": 6}, {"n_iter": 6}, {"batch_size": 2, "n_iter": 3}])
def test_several_pictures(house, counts):
    """`batch_size` times `n_iter` pictures, with seeds counting up; each is one of its own to the cache."""
    answer = ask(house, prompt="several", seed=40, **counts)
    info = info_of(answer)
    assert len(answer.json()["images"]) == len(info["infotexts"]) == len(info["all_prompts"]) == 6
    assert info["all_seeds"] == [40, 41, 42, 43, 44, 45]
    assert ask(house, prompt="several", seed=43).json()["images"] == [answer.json()["images"][3]]


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"width": 100}, "width"),
        ({"height": 1000}, "height"),
        ({"width": 4096}, "width"),
        ({"width": "64"}, "width"),
        ({"steps": "20"}, "steps"),
        ({"steps": 20.5}, "steps"),
        ({"cfg_scale": "7"}, "cfg_scale"),
        ({"cfg_scale": True}, "cfg_scale"),
        ({"seed": "-1"}, "seed"),
        ({"seed": -2}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"batch_size": 9}, "batch_size"),
        ({"batch_size": 3, "n_iter": 3}, "batch_size"),
        ({"n_iter": 0}, "n_iter"),
        ({"prompt": None}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"negative_prompt": 1}, "negative_prompt"),
        ({"styles": "cinematic"}, "styles"),
        ({"sampler_name": 3}, "sampler_name"),
        ({"override_settings": []}, "override_settings"),
        ({"override_settings": {"zimage_exact": "yes"}}, "override_settings"),
        ({"override_settings": {"sd_model_checkpoint": "v1-5-pruned"}}, "sd_model_checkpoint"),
        ({"override_settings": {"zimage_exact": True}, "steps": 150}, "steps"),
        ({"override_settings": {"zimage_exact": True}, "cfg_scale": 30}, "guidance_scale"),
    ],
)
def test_what_is_refused(house, expect_error, fields, at_fault):
    """422 names the field in our shape, and says the same where clients of A1111 look: `detail` and `errors`."""
    answer = ask(house, **fields)
    message = expect_error(answer, 422, "invalid_request", at_fault)
    assert message.startswith(f"{at_fault}: ")
    assert answer.json()["detail"] == answer.json()["errors"] == message


@pytest.mark.parametrize("steps", [0, 51, 150])
def test_steps_out_of_range_do_no_harm_where_they_are_not_used(house, steps):
    """Open WebUI lets its administrator set any number of steps."""
    assert info_of(ask(house, steps=steps, cfg_scale=99))["steps"] == STEPS


def test_other_bodies_are_refused(house, expect_error):
    """A list, another type, nothing at all."""
    send = house.client.post
    expect_error(send("/sdapi/v1/txt2img", json=[]), 422, "invalid_request")
    expect_error(send("/sdapi/v1/txt2img", data={"prompt": "a"}), 415, "unsupported_media_type")
    expect_error(
        send("/sdapi/v1/txt2img", content=b"", headers={"Content-Type": "application/json"}), 422, "invalid_request"
    )


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({"enable_hr": True, "hr_scale": 2}, ["enable_hr"]),
        ({"alwayson_scripts": {"ADetailer": {"args": [True]}}}, ["alwayson_scripts"]),
        ({"alwayson_scripts": {}}, []),
        ({"init_images": ["iVBO"]}, ["init_images"]),
        ({"refiner_checkpoint": "sd_xl_refiner", "refiner_switch_at": 0.8}, ["refiner_checkpoint"]),
        ({"refiner_checkpoint": "None"}, []),
        ({"restore_faces": True, "tiling": True}, ["restore_faces", "tiling"]),
        ({"subseed": 3, "subseed_strength": 0.2}, ["subseed_strength"]),
        ({"subseed": 3, "subseed_strength": 0}, []),
        ({"script_name": "x/y/z plot"}, ["script_name"]),
        ({"scheduler": "Karras"}, ["scheduler"]),
        ({"scheduler": "Simple"}, []),
        ({"sampler_name": "DPM++ 2M Karras", "scheduler": "Karras"}, ["scheduler"]),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2}}, ["CLIP_stop_at_last_layers"]),
        ({"override_settings": {"sd_vae": "Automatic", "forge_additional_modules": []}}, []),
        ({"override_settings": {"sd_vae": "kl-f8-anime2"}}, ["sd_vae"]),
        ({"hr_scale": 2, "denoising_strength": 0.5, "no_such_field": {"a": [1]}}, []),
    ],
)
def test_what_has_no_effect_is_named(house, fields, ignored):
    """`ignored` lists each field that would have changed pixels of A1111 and changes none here, and no other one."""
    info = info_of(ask(house, **fields))
    assert info["ignored"] == ignored
    assert any(note == f"Without effect here: {', '.join(ignored)}" for note in info["notes"]) == bool(ignored)
    assert ask(house).json()["images"] == ask(house, **fields | {"sampler_name": "Euler"}).json()["images"]


def test_styles(serve):
    """The first style of this server is applied; the others are named."""
    house = serve()
    info = info_of(ask(house, styles=["my own", "cinematic", "anime"]))
    (recipe,) = house.studio.generator.recipes
    assert recipe.prompt != "a red circle"
    assert "a red circle" in recipe.prompt
    assert "my own, anime" in info["notes"][0]
    assert "cinematic" not in info["notes"][0]
    same = house.generate(prompt="a red circle", style="cinematic", steps=None)
    assert same.headers["x-cache"].startswith("hit")


def test_notes_are_in_the_language_of_the_request(house):
    """Chinese where `Accept-Language` prefers it."""
    body = {"prompt": "a", "width": 64, "height": 64, "steps": 20}
    answer = house.client.post("/sdapi/v1/txt2img", json=body, headers={"Accept-Language": "zh-CN"})
    assert "步" in info_of(answer)["notes"][0]


def test_warnings_of_pictures_are_notes(serve):
    """What `/generate` tells in `warnings`, such as a prompt that is too long, `info` tells too, once."""
    house = serve(generator=FakeGenerator(warnings=(Message("as_said", text="too many words"),)))
    assert info_of(ask(house, batch_size=2))["notes"] == ["too many words"]


def test_pictures_are_shared_with_the_other_routes(serve):
    """A picture that `/generate` drew is a hit here, and the other way round."""
    house = serve()
    image = house.image(steps=None)
    answer = ask(house)
    assert answer.headers["x-cache"].startswith("hit")
    stored = house.client.get(image["image_url"]).content
    assert base64.b64decode(answer.json()["images"][0]) == stored
    ask(house, seed=8)
    assert house.image(seed=8, steps=None)["cached"]


def test_the_lists(house):
    """Each list has the fields that clients read, also where there is nothing to list."""
    assert [each["name"] for each in get(house, "samplers")] == ["Euler", "UniPC", "DPM++ 2M", "Heun"]
    assert all({"aliases", "options"} <= each.keys() for each in get(house, "samplers"))
    assert [(each["name"], each["label"]) for each in get(house, "schedulers")] == [("automatic", "Automatic")]
    # SillyTavern puts the latent ones behind the first upscaler.
    assert [each["name"] for each in get(house, "upscalers")] == ["None"]
    for name in ("latent-upscale-modes", "sd-vae", "sd-modules", "loras"):
        assert get(house, name) == []
    assert get(house, "cmd-flags") == {"api": True}
    (model,) = get(house, "sd-models")
    assert model.keys() == {"title", "model_name", "hash", "sha256", "filename", "config"}
    assert (model["title"], model["model_name"]) == ("fake", "fake")
    assert get(house, "options")["sd_model_checkpoint"] == "fake"
    # SillyTavern takes a server with such an option for Forge.
    assert "forge_preset" not in get(house, "options")


@pytest.mark.parametrize("name", ["img2img", "extra-single-image", "interrogate"])
def test_what_is_not_offered(house, expect_error, name):
    """Other routes of A1111 are 404, other methods 405."""
    expect_error(house.client.post(f"/sdapi/v1/{name}", json={}), 404, "not_found")
    expect_error(house.client.get("/sdapi/v1/txt2img"), 405, "method_not_allowed")


@pytest.fixture
def two_models(serve, tmp_path):
    """A server of two users with the models `fake` and `other`."""
    return serve(others=[fake("other")], web={"authentication": authentication(tmp_path, *LINES)})


def test_open_webui_chooses_a_model(two_models):
    """Its sequence: options, compare, send all of them back, options, then a picture that names no model."""
    house, send = two_models, two_models.client.post
    models = get(house, "sd-models", auth=ANN)
    assert [(each["title"], each["model_name"]) for each in models] == [("fake", "fake"), ("other", "other")]
    options = get(house, "options", auth=ANN)
    assert options["sd_model_checkpoint"] == "fake"
    changed = options | {"sd_model_checkpoint": models[1]["title"]}
    answer = send("/sdapi/v1/options", json=changed, auth=ANN)
    assert (answer.status_code, answer.json()) == (200, None)
    assert get(house, "options", auth=ANN)["sd_model_checkpoint"] == "other"
    assert info_of(ask(house, ANN))["sd_model_name"] == "other"
    # For other users, and for other routes, nothing has changed.
    assert get(house, "options", auth=BEN)["sd_model_checkpoint"] == "fake"
    assert info_of(ask(house, BEN))["sd_model_name"] == "fake"
    lookup = house.client.post(
        "/lookup", json={"prompt": "a red circle", "width": 64, "height": 64, "seed": 7}, auth=ANN
    )
    assert lookup.json()["images"][0]["cached"]
    # An empty name, as it is before one is set, means the default.
    assert send("/sdapi/v1/options", json={"sd_model_checkpoint": ""}, auth=ANN).status_code == 200
    assert get(house, "options", auth=ANN)["sd_model_checkpoint"] == "fake"


def test_choosing_loads_nothing(two_models):
    """The first picture does; SillyTavern waits after its choice until nothing is under way."""
    (other,) = (each for each in two_models.client.get("/models", auth=ANN).json()["models"] if each["name"] == "other")
    two_models.client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "other"}, auth=ANN)
    idle = get(two_models, "progress", auth=ANN)
    assert (idle["progress"], idle["state"]["job_count"]) == (0.0, 0)
    assert other["status"] == "sleeping"
    assert other in two_models.client.get("/models", auth=ANN).json()["models"]


@pytest.mark.parametrize("name", ["other", "OTHER"])
def test_a_request_names_its_model(two_models, name):
    """`override_settings.sd_model_checkpoint` holds for one request."""
    assert info_of(ask(two_models, ANN, override_settings={"sd_model_checkpoint": name}))["sd_model_name"] == "other"
    assert get(two_models, "options", auth=ANN)["sd_model_checkpoint"] == "fake"


def test_a_model_is_known_by_its_hash_and_its_title(serve):
    """Once its files have been hashed; names are those of `sd-models`."""
    generator = fake("other")
    generator.profile = replace(generator.profile, title="Another One")
    generator.identity_ = replace(generator.identity_, revision="0123456789abcdef")
    house = serve(others=[generator])
    for name in ("Another One", "other", "0123456789", "0123456789abcdef"):
        override = {"sd_model_checkpoint": name}
        assert info_of(ask(house, override_settings=override))["sd_model_name"] == "other", name
        assert get(house, "sd-models")[1]["hash"] == "0123456789"


def test_a_name_comes_before_a_title(serve):
    """A model is chosen by its name, also where another one has a title like it."""
    house = serve(generator=FakeGenerator(profile=replace(FAKE_PROFILE, title="Other")), others=[fake("other")])
    for name, model in (("other", "other"), ("Other", "fake")):
        assert info_of(ask(house, override_settings={"sd_model_checkpoint": name}))["sd_model_name"] == model


@pytest.mark.parametrize("name", ["none", "v1-5-pruned-emaonly.safetensors [6ce0161689]", "../fake", "f" * 300])
def test_an_unknown_model_is_refused(house, expect_error, name):
    """In words that list the names; nothing is chosen."""
    answer = house.client.post("/sdapi/v1/options", json={"sd_model_checkpoint": name})
    assert "one of fake" in expect_error(answer, 422, "invalid_request", "sd_model_checkpoint")
    assert get(house, "options")["sd_model_checkpoint"] == "fake"


def test_other_options_change_nothing(house, expect_error):
    """All of A1111's options may be sent; only the model's name has an effect, and it must be text."""
    before = get(house, "options")
    options = {"sd_vae": "x", "CLIP_stop_at_last_layers": 2, "samples_format": "jpg", "sd_model_checkpoint": None}
    assert house.client.post("/sdapi/v1/options", json=options).status_code == 200
    assert get(house, "options") == before
    wrong = house.client.post("/sdapi/v1/options", json={"sd_model_checkpoint": 3})
    expect_error(wrong, 422, "invalid_request", "sd_model_checkpoint")


def test_progress_is_the_senders_own(shared, pool):
    """It counts the sender's pictures alone, and has a preview from the second request for one on."""
    asking = pool.submit(ask, shared, ANN, seed=1, batch_size=2)
    shared.studio.generator.before_step.wait()
    told = get(shared, "progress", auth=ANN)
    assert 0 < told["progress"] < 1
    assert told["eta_relative"] >= 0
    assert told["state"] | {"job": "drawing", "job_count": 2, "job_no": 0, "sampling_step": 1} == told["state"]
    assert told["state"]["sampling_steps"] == STEPS
    idle = get(shared, "progress", auth=BEN)
    assert (idle["progress"], idle["state"]["job_count"], idle["current_image"]) == (0.0, 0, None)
    shared.studio.generator.before_step.open()
    assert asking.result(60).status_code == 200
    assert get(shared, "progress", auth=ANN) == idle


def test_previews_are_made_when_they_are_asked_for(serve, pool):
    """`current_image` is a JPEG in base64; `skip_current_image` leaves it out and has none made."""
    asked = []

    def look(_recipe: Any, evaluation: int) -> None:
        if evaluation > 1:
            skip = {"skip_current_image": "true"} if evaluation <= 3 else {}
            asked.append(get(house, "progress", params=skip)["current_image"])

    generator = FakeGenerator(preview=b"a small jpeg", before_step=look)
    house = serve(generator=generator)
    assert pool.submit(ask, house).result(60).status_code == 200
    assert asked[:3] == [None] * 3
    assert base64.b64decode(asked[-1]) == b"a small jpeg"
    assert generator.previews == STEPS - 3


def test_interrupt_ends_the_senders_own(shared, pool, expect_error):
    """The sender's request is answered `cancelled`; that of another user for the same picture gets it."""
    own, others = pool.submit(ask, shared, ANN, seed=1), pool.submit(ask, shared, BEN, seed=1)
    shared.studio.generator.before_step.wait()
    (run,) = shared.studio.service.runs
    wait_until(lambda: run.waiters == 2)
    answer = shared.client.post("/sdapi/v1/interrupt", auth=ANN)
    assert (answer.status_code, answer.json()) == (200, {})
    expect_error(own.result(60), 503, "cancelled")
    assert not others.done()
    shared.studio.generator.before_step.open()
    assert others.result(60).headers["x-cache"] in {"miss", "shared"}


def test_interrupt_stops_a_picture_that_no_other_request_waits_for(shared, pool, expect_error):
    """It is not drawn to its end; without pictures under way, an interrupt does nothing."""
    own = pool.submit(ask, shared, ANN, seed=1)
    shared.studio.generator.before_step.wait()
    shared.client.post("/sdapi/v1/interrupt", auth=ANN)
    expect_error(own.result(60), 503, "cancelled")
    shared.studio.generator.before_step.open()
    assert shared.client.post("/sdapi/v1/interrupt", auth=ANN).status_code == 200
    assert ask(shared, ANN, seed=2).status_code == 200
    assert (1, 3) not in shared.studio.generator.before_step.steps


def test_a_client_that_disconnects_gives_its_place_up(serve, gate):
    """As SillyTavern does when its user stops; the picture is not drawn to its end."""
    door = gate(2)
    house = serve(door)
    connection = HTTPConnection("127.0.0.1", house.port, timeout=60)
    connection.request("POST", "/sdapi/v1/txt2img", json.dumps(SILLYTAVERN), {"Content-Type": "application/json"})
    door.wait()
    assert get(house, "progress")["state"]["job_count"] == 1
    connection.close()
    wait_until(lambda: house.studio.service.queue_depth == 0)
    door.open()
    assert (SILLYTAVERN["seed"], 3) not in door.steps
    assert get(house, "progress")["state"]["job_count"] == 0


def test_users_have_lanes_and_a_rate_of_their_own(serve, tmp_path, expect_error):
    """Each account's pictures count for itself, as with `/generate`; what draws nothing is not counted."""
    web = {"authentication": authentication(tmp_path, *LINES), "rate": Rate(2, 3600)}
    house = serve(web=web)
    assert ask(house, ANN).status_code == 200
    assert house.client.post("/generate", json={"prompt": "a", "width": 64, "height": 64}, auth=ANN).status_code == 200
    expect_error(ask(house, ANN), 429, "rate_limited")
    assert get(house, "options", auth=ANN)["sd_model_checkpoint"] == "fake"
    assert ask(house, BEN).status_code == 200
    # Open WebUI sends an empty password where none is set.
    empty = house.client.post("/sdapi/v1/txt2img", json=OPEN_WEBUI, headers={"Authorization": "Basic"})
    expect_error(empty, 401, "unauthorized")


def test_an_empty_password_is_none_where_none_is_needed(house):
    """Open WebUI and SillyTavern send `Basic` with nothing where no password is set."""
    for given in ("Basic", "Basic Og==", ""):
        assert get(house, "options", headers={"Authorization": given})["sd_model_checkpoint"] == "fake"


def test_pictures_in_the_queue_are_drawn_in_turns(serve, gate, pool, tmp_path):
    """A second user's picture comes before the third of the first user, who asked for four at once."""
    door = gate(1, only={100})
    house = serve(door, web={"authentication": authentication(tmp_path, *LINES)})
    first = pool.submit(ask, house, ANN, seed=100, batch_size=4)
    door.wait()
    second = pool.submit(ask, house, BEN, seed=200)
    wait_until(lambda: house.studio.service.queue_depth == 5)
    door.open()
    assert first.result(60).status_code == second.result(60).status_code == 200
    assert [recipe.seed for recipe in house.studio.generator.recipes].index(200) <= 2


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_png_info(house, prefix):
    """Text, all texts, and the parameters by A1111's names, of a picture that this API gave."""
    answer = ask(house, prompt="a fox, red", sampler_name="Heun")
    told = house.client.post("/sdapi/v1/png-info", json={"image": prefix + answer.json()["images"][0]})
    assert told.status_code == 200, told.text
    found = told.json()
    assert found["info"] == info_of(answer)["infotexts"][0] == found["items"]["parameters"]
    expected = {"Prompt": "a fox, red", "Sampler": "Heun", "Seed": "7", "Size-1": "64", "Size-2": "64"}
    assert found["parameters"] | expected == found["parameters"]
    assert "zimage" in found["items"]


@pytest.mark.parametrize(
    "text", ['a\nSteps: 1, X: "\\ud800", Y: "unclosed"', 'a\nSteps: 1, X: "\\ud83d", Lora hashes: "a: b"']
)
def test_png_info_with_half_a_sign(house, text):
    """An escape that is half of a sign is replaced."""
    buffer, texts = io.BytesIO(), PngInfo()
    texts.add_text("parameters", text)
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=texts)
    image = base64.b64encode(buffer.getvalue()).decode()
    told = house.client.post("/sdapi/v1/png-info", json={"image": image})
    assert told.status_code == 200, told.text
    assert told.json()["parameters"]["X"] == "?"


def test_png_info_of_other_files(house, expect_error):
    """A JPEG's text is in its EXIF; a picture without any has an empty text; what is no picture is refused."""
    send = house.client.post

    def sent(file: bytes) -> httpx.Response:
        return send("/sdapi/v1/png-info", json={"image": base64.b64encode(file).decode()})

    jpeg = jpeg_with(exif_with({0x9286: user_comment(A_FOX)}))
    assert sent(jpeg).json()["info"] == A_FOX
    large = jpeg + b"\0" * 2**21
    assert sent(large).json()["info"] == A_FOX
    assert sent(jpeg_of()).json() == {"info": "", "items": {}, "parameters": {}}
    expect_error(sent(b"no picture"), 422, "invalid_request", "image")
    for wrong in ("a", "é", "data:image/png;base64,a", 3, None):
        expect_error(send("/sdapi/v1/png-info", json={"image": wrong}), 422, "invalid_request", "image")
