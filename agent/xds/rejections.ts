const MAX_UNANSWERED = 100;
const MAX_REJECTED = 1000;

/** Versions of resources that a client has rejected, the latest ones; it does not say which of a response it was. */
export class Rejections {
  readonly #sent = new Map<string, readonly string[]>();
  readonly #rejected = new Set<string>();

  /** Whether the client has rejected it. */
  has(version: string): boolean {
    return this.#rejected.has(version);
  }

  /** A response went out. */
  sent(nonce: string, versions: readonly string[]): void {
    this.#sent.set(nonce, versions);
    prune(this.#sent, MAX_UNANSWERED);
  }

  /** The client answered to the response with this nonce. */
  answered(nonce: string, isRejected: boolean): void {
    const versions = this.#sent.get(nonce) ?? [];
    this.#sent.delete(nonce);
    if (!isRejected) return;
    for (const version of versions) this.#rejected.add(version);
    prune(this.#rejected, MAX_REJECTED);
  }
}

/** Forgets the oldest. */
function prune(kept: Map<string, unknown> | Set<string>, most: number): void {
  for (const key of kept.keys()) {
    if (kept.size <= most) return;
    kept.delete(key);
  }
}
