// Types of the page's own values; those of the HTTP API are in api.d.ts, which is generated.
import type { ErrorDetail, HistoryPicture, Image, JobError } from "./api.d.ts";

export type Language = "en" | "zh";
/** A size in pixels: the long side and the short one. */
export type Size = [number, number];
/** The sizes of one class by the place of their aspect ratio; null: the class has none of that ratio. */
export type Sizes = Record<string, (Size | null)[]>;

/** A class and the place of a ratio in it, and which of both counts where the class lacks the ratio. */
export interface SizeChoice {
  side: string;
  place: number;
  keep: "place" | "side";
}

export interface Offer {
  min_side: number;
  max_side: number;
  sizes: Sizes;
  /** The styles that have an effect. */
  styles: string[];
  /** Prompts to begin with. */
  examples: Partial<Record<Language, string[]>>;
}

/** What the server tells the page: `_facts` in mount.py. */
export interface Facts {
  strings: Record<Language, Record<string, string>>;
  /** Names of all fields of a request, in the order in which they are shown. */
  fields: string[];
  /** Those of them that are numbers. */
  numbers: string[];
  styles: Record<Language, [string, string][]>;
  aspects: Size[];
  models: Record<string, Offer>;
  defaults: Record<string, Record<string, string | number | null>>;
  default_model: string;
  model: { name: string; title: string; note: string };
  limits: Limits;
  /** The address of the worker that all tabs share. */
  worker: string;
  /** The path below which the server was told to be, without a slash at its end. */
  root_path: string;
}

export interface Limits {
  /** A side is a multiple of so many pixels. */
  grid: number;
  /** The API's value for a seed that the server draws. */
  random_seed: number;
  max_seed: number;
  max_pictures: number;
  max_sequence_length: number;
  /** Characters of a search in the history. */
  max_query: number;
  /** Pictures in one answer of the history. */
  max_listed: number;
  png_bytes: number;
  /** How long the server keeps a job without an event stream. */
  grace_ms: number;
  /** Ways to use the cache that a person may choose. */
  cache_modes: string[];
}

/** The form's values, by field. Numbers are null while their text is not a number. */
export interface Fields {
  prompt: string;
  negative_prompt: string;
  style: string | null;
  model: string;
  cache: string;
  sampler: string;
  width: number | null;
  height: number | null;
  seed: number | null;
  n: number;
  steps: number;
  guidance_scale: number;
  shift: number;
  max_sequence_length: number;
}

/** What a tab keeps of its form over a reload: also whether seeds are rolled, and how the size was chosen. */
export type KeptForm = Fields & { rolls: boolean; size: SizeChoice };

/** A complete request: the body of `POST /generate`. */
export type Ask = Omit<Fields, "width" | "height" | "seed"> & { width: number; height: number; seed: number };

/** Parameters of a picture, from a link, a file or the history: any of them may be missing or unknown. */
export type Parameters = Record<string, unknown>;

/** How the form's values changed: at start, by a script, or by the user. */
export type How = "begun" | "filled" | "typed";

/** A picture on the card; `pinned` is known after the server was asked. A copy from the history has no key. */
export type Picture = Pick<Image, "image_url" | "width" | "height" | "seed" | "key"> &
  Partial<Omit<Image, "source">> & {
    source: string;
    pinned?: boolean;
    /** The file of the history that it is a copy of. */
    file?: number;
  };

/** What the viewer shows; what it does not know of a picture, it does not offer. */
export interface Shown {
  image_url: string;
  alt: string;
  seed: number | string;
  width: number;
  height: number;
  thumbnail_url?: string;
  /** Under which the cache has it, or had it. */
  key?: string | null;
  /** Whether the cache has it, and what is drawn of the key is this picture. */
  cached?: boolean;
  pinned?: boolean;
  /** Those of the request that it was drawn by. */
  parameters?: Parameters;
  /** Its file in the history; without it, the picture is all that there is under its key. */
  file?: HistoryPicture;
}

export interface Result {
  images: (Picture | null)[];
  warnings: string[];
}

/** An error of the server, or of the same form where no server answers. */
export type Trouble = Pick<ErrorDetail | JobError, "code" | "message"> & {
  field?: string | null | undefined;
  /** The message without the name of the field. */
  reason?: string | null | undefined;
  request_id?: string | undefined;
};

/** A request that a tab waited for before a reload; `id` is its job, once the server has answered. */
export interface Waited {
  ask: Ask;
  /** The prompts are expanded. */
  literal: boolean;
  id: string | null;
}

/** Why some pictures of a request are not there. */
export type Missing = "deleted" | "stopped";

/** What a tab waited for before a reload, and the request whose pictures were on its card. */
export interface Remembered {
  waited: Waited[];
  shown: { ask: Ask; missing: Missing; places: boolean[] } | null;
}

/** A picture of this sitting: the request for it alone; a name for all pictures of one request, and which these are. */
export interface Kept {
  ask: Ask;
  image: Picture;
  batch: string;
  whole: { seed: number; n: number };
}

export type Properties<Kind> = Partial<Omit<Kind, "dataset">> & {
  dataset?: Record<string, string | number | boolean>;
  aria?: Record<string, string | number | boolean>;
};
