import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Authorities, type AuthoritiesOptions } from '../../../../ca/authorities/authorities.ts';
import type { AuthorityBundle } from '../../../../ca/authorities/authority.ts';
import { DiskKeyStore } from '../../../../ca/keys/disk-key-store.ts';
import type { Authority, AuthorityKind } from '../../../../ca/model.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

// Months of rotation write thousands of files: in memory they take no time, where there is such a folder.
const FAST_DIR = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

export const HOUR_MS = 3_600_000;
export const trustDomain = parseTrustDomain('example.org');
export const log = createLogger({ level: 'silent' as 'fatal', name: 'test' }); // Sound: pino knows `silent`, users need not.

/** The shared bundle without a store: remembers when each authority was published, and fails when told to. */
export class FakeBundle implements AuthorityBundle {
  readonly parts = new Map<string, Authority>();
  readonly publishedAtMs = new Map<string, number>();
  readonly #clock: ManualClock;
  /** Called before each write; throws to fail it. */
  beforeWrite: (what: string) => void = () => undefined;

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  list(): readonly Authority[] {
    return [...this.parts.values()];
  }

  async publish(authority: Authority): Promise<void> {
    await Promise.resolve();
    this.beforeWrite(`publish ${authority.kind}`);
    const name = `${authority.kind}/${authority.id}`;
    this.parts.set(name, authority);
    if (!this.publishedAtMs.has(name)) this.publishedAtMs.set(name, this.#clock.nowMs());
  }

  async remove(kind: AuthorityKind, id: string): Promise<void> {
    await Promise.resolve();
    this.beforeWrite(`remove ${kind}`);
    this.parts.delete(`${kind}/${id}`);
  }

  ids(kind: AuthorityKind): readonly string[] {
    return this.list()
      .filter((each) => each.kind === kind)
      .map(({ id }) => id);
  }
}

export function storeIsDown(): never {
  throw new IdentityError('unavailable', 'the store is down');
}

/** A replica's folder, clock and bundle, and a way to open its authorities again and again. */
export class Replica {
  readonly dir = mkdtempSync(join(FAST_DIR, 'authorities-'));
  readonly clock: ManualClock;
  readonly bundle: FakeBundle;

  constructor(clock = new ManualClock(), bundle = new FakeBundle(clock)) {
    this.clock = clock;
    this.bundle = bundle;
  }

  get stateFile(): string {
    return join(this.dir, 'authorities.json');
  }

  async open(options: Partial<AuthoritiesOptions> = {}): Promise<Authorities> {
    return Authorities.open({
      trustDomain,
      dataDir: this.dir,
      keys: options.keys ?? (await DiskKeyStore.open(join(this.dir, 'keys'))),
      bundle: this.bundle,
      clock: this.clock,
      log,
      lifetimeMs: 24 * HOUR_MS,
      exchange: true,
      ...options,
    });
  }

  /** Lets time pass in steps, so that every rotation that falls due has been done at its time. */
  async pass(byMs: number, afterEachStep: () => void = () => undefined): Promise<void> {
    const endMs = this.clock.monotonicMs() + byMs;
    while (this.clock.monotonicMs() < endMs) {
      const leftMs = endMs - this.clock.monotonicMs();
      this.clock.advance(Math.min(leftMs, this.clock.nextTimerMs ?? leftMs));
      await this.settle();
      afterEachStep();
    }
  }

  /** Waits for the work that a timer began: while it lasts, no timer is set. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 3 || this.clock.timers === 0; turn++) {
      await (turn < 3 ? Promise.resolve() : new Promise((resolve) => setImmediate(resolve)));
    }
  }

  delete(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}
