import type { Authority } from '../model.ts';
import { PRUNE_AFTER_MS } from './rotation.ts';

const PRUNE_EVERY_MS = 60 * 60 * 1000;

/**
 * Decides which authorities leave the bundle because they ended long ago, those of replicas that are gone for good included.
 * One must be found expired twice, an hour of real time apart: a wall clock that once jumped ahead must not empty the bundle.
 */
export class ExpiredAuthorities {
  #candidates: ReadonlySet<string> = new Set();
  #lookedAtMs: number | undefined;

  /** What to remove now; usually nothing. */
  collect(
    authorities: readonly Authority[],
    time: { readonly nowMs: number; readonly monotonicMs: number },
  ): readonly Authority[] {
    if (this.#lookedAtMs !== undefined && time.monotonicMs - this.#lookedAtMs < PRUNE_EVERY_MS) return [];
    this.#lookedAtMs = time.monotonicMs;
    const expired = authorities.filter(({ expiresAtSeconds }) => isLongExpired(expiresAtSeconds, time.nowMs));
    const removable = expired.filter((each) => this.#candidates.has(nameOf(each)));
    this.#candidates = new Set(expired.map(nameOf));
    return removable;
  }
}

function isLongExpired(expiresAtSeconds: number, nowMs: number): boolean {
  return expiresAtSeconds !== 0 && expiresAtSeconds * 1000 + PRUNE_AFTER_MS < nowMs;
}

function nameOf({ kind, id }: Authority): string {
  return `${kind}/${id}`;
}
