// Answers of the HTTP API. Written by scripts/write_api_types.py: do not change this file by hand.

export interface Deleted {
  key: string;
  deleted?: boolean;
}

export interface DeviceState {
  device: string | null;
  status: Status;
  phase: string;
  detail: string;
}

export interface ErrorAnswer {
  error: ErrorDetail;
}

export interface ErrorDetail {
  code: string;
  message: string;
  rule: string;
  params: Record<string, unknown>;
  request_id: string;
  field?: string | null;
  reason?: string | null;
}

export interface Generated {
  images: Image[];
  duration: number;
  warnings: string[];
}

export interface Health {
  status: Status;
  timestamp: string;
  model?: string | null;
  device?: string | null;
  phase?: string | null;
  share?: number | null;
  detail?: string | null;
  devices?: DeviceState[] | null;
  room?: number | null;
  troubles?: Trouble[] | null;
}

export interface Held {
  memory_bytes?: number;
  memory_entries?: number;
  disk_bytes?: number;
  disk_entries?: number;
  pinned?: number;
  victim_age_seconds?: number | null;
  memory_max_bytes?: number;
  disk_max_bytes?: number;
}

export interface HistoryPage {
  pictures: HistoryPicture[];
  cursor?: string | null;
  total?: number | null;
}

export interface HistoryPicture {
  id: number;
  name: string;
  made: string;
  bytes: number;
  width: number;
  height: number;
  key: string | null;
  model: string | null;
  parameters: Record<string, unknown>;
  cached: boolean;
  pinned: boolean;
  image_url: string;
  thumbnail_url: string;
}

export interface Image {
  key: string;
  seed: number;
  source: Source;
  cached: boolean;
  seconds: number;
  seconds_saved: number;
  age_seconds: number;
  image_url: string;
  width: number;
  height: number;
}

export interface JobError {
  code: string;
  message: string;
  rule: string;
  params: Record<string, unknown>;
  request_id: string;
  field?: string | null;
  reason?: string | null;
}

export interface JobState {
  id: string;
  state: State;
  phase: "queued" | "loading" | "encoding" | "drawing" | "decoding" | "finishing";
  detail: string;
  position: number;
  step: number;
  steps: number;
  done: number;
  n: number;
  eta_seconds: number | null;
  preview: string | null;
  images: (Image | null)[];
  warnings: string[];
  duration: number | null;
  error: JobError | null;
}

export interface KnownImage {
  key: string | null;
  cached?: boolean;
  age_seconds?: number | null;
  image_url?: string | null;
}

export interface LookedUp {
  images: KnownImage[];
  eta_seconds: number | null;
}

export interface ModelStatus {
  name: string;
  title: string;
  default: boolean;
  resident: boolean;
  status: Status;
  phase: string;
  share: number | null;
  detail: string;
  device: string | null;
  devices: DeviceState[];
}

export interface Models {
  models: ModelStatus[];
}

export interface Pinned {
  key: string;
  pinned: boolean;
}

export interface PngInfo {
  parameters: Record<string, unknown>;
  source: Tool | null;
  notes: string[];
  cached: boolean;
  image_url: string | null;
}

export type Priority = "interactive" | "batch";

export interface PromptInfo {
  prompt: string;
  negative_prompt: string;
  expanded: boolean;
  tokens: number | null;
  limit: number;
  wildcards: string[];
  notices: string[];
}

export interface PrunedAnswer {
  entries: number;
  bytes: number;
  dry_run: boolean;
}

export type Source = "memory" | "disk" | "generated" | "shared";

export interface Span {
  since: string;
  hit_ratio: number | null;
  hits_memory: number;
  hits_disk: number;
  misses: number;
  shared: number;
  bypasses: number;
  failures: number;
  abandoned: number;
  generated: number;
  gpu_seconds: number;
  gpu_seconds_saved: number;
  writes: number;
  evictions: number;
  expired: number;
  corrupt: number;
  oversized: number;
  read_errors: number;
  write_errors: number;
  write_backoffs: number;
  index_errors: number;
  scrubbed: number;
}

export type State = "queued" | "running" | "done" | "failed" | "cancelled";

export interface Stats {
  database: string | null;
  now: Held;
  lifetime: Span;
  this_process: Span;
}

export type Status = "loading" | "healthy" | "sleeping" | "error";

export interface StoredPicture {
  key: string;
  prompt: string;
  seed: number;
  width: number;
  height: number;
  model: string;
  created: string;
  age_seconds: number;
  bytes: number;
  gpu_seconds: number;
  frequency: number;
  pinned: boolean;
  image_url: string;
  thumbnail_url: string;
}

export interface StoredPictures {
  entries: StoredPicture[];
  cursor: string | null;
}

export type Tool = "zimage" | "a1111" | "comfyui" | "swarmui" | "fooocus" | "invokeai" | "novelai" | "drawthings" | "easydiffusion" | "mflux" | "tensorart" | "civitai" | "other";

export interface Trouble {
  code: string;
  since: string;
  detail: string;
}
