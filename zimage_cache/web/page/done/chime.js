// A short soft sound of two notes, made here: there is no file to load.

const NOTES = [660, 880]; // Hz
const APART = 0.14; // seconds
const LENGTH = 0.5;
const LOUDNESS = 0.12;
/** @type {AudioContext | null} */
let context = null;

/**
 * @param {AudioContext} audio
 * @param {number} pitch
 * @param {number} at
 */
function note(audio, pitch, at) {
  const tone = new OscillatorNode(audio, { type: "sine", frequency: pitch });
  const volume = new GainNode(audio, { gain: 0 });
  volume.gain.setValueAtTime(0, at);
  volume.gain.linearRampToValueAtTime(LOUDNESS, at + 0.02);
  volume.gain.exponentialRampToValueAtTime(0.001, at + LENGTH);
  tone.connect(volume).connect(audio.destination);
  tone.start(at);
  tone.stop(at + LENGTH);
}

/** Plays it. Browsers keep a page silent that was never clicked or typed in. */
export function chime() {
  if (!("AudioContext" in globalThis)) return;
  context ??= new AudioContext();
  const audio = context;
  void audio.resume();
  for (const [i, pitch] of NOTES.entries()) note(audio, pitch, audio.currentTime + i * APART);
}
