import { randomBytes } from 'node:crypto';
import type { AuthorityKind } from '../model.ts';
import type { AuthorityStatus } from './authority.ts';
import type { LocalAuthority } from './local-authority.ts';
import { readState, writeState, type ReplicaState } from './state-file.ts';

/** What becomes of one authority in a change; undefined forgets it. */
export type Revision = (authority: LocalAuthority) => LocalAuthority | undefined;

/** The authorities of this replica, oldest first, in memory as on the disk: every change is written before it counts. */
export class Ledger {
  readonly #file: string;
  #state: ReplicaState;

  private constructor(file: string, state: ReplicaState) {
    this.#file = file;
    this.#state = state;
  }

  /** Reads the file, or begins one with a new replica ID. @throws IdentityError `failed_precondition`, `unavailable` */
  static async open(file: string): Promise<Ledger> {
    const state = await readState(file);
    if (state !== undefined) return new Ledger(file, state);
    const begun = { replicaId: randomBytes(8).toString('hex'), authorities: [] };
    await writeState(file, begun);
    return new Ledger(file, begun);
  }

  get replicaId(): string {
    return this.#state.replicaId;
  }

  get authorities(): readonly LocalAuthority[] {
    return this.#state.authorities;
  }

  /** The newest authority of that status, if any. */
  newest(kind: AuthorityKind, status: AuthorityStatus): LocalAuthority | undefined {
    return this.#state.authorities.findLast((each) => each.kind === kind && each.status === status && !each.revoked);
  }

  /** The authority of that ID, unless revoked. */
  find(kind: AuthorityKind, id: string): LocalAuthority | undefined {
    return this.#state.authorities.find((each) => each.kind === kind && each.id === id && !each.revoked);
  }

  /** Appends authorities and revises those that are there, in one write. @throws IdentityError `unavailable`; nothing has then changed */
  async change(revise: Revision, ...added: readonly LocalAuthority[]): Promise<void> {
    const kept = this.#state.authorities.map(revise).filter((each) => each !== undefined);
    const authorities = [...kept, ...added];
    const isSame =
      authorities.length === this.#state.authorities.length &&
      authorities.every((each, index) => each === this.#state.authorities[index]);
    if (isSame) return;
    const state = { replicaId: this.#state.replicaId, authorities };
    await writeState(this.#file, state);
    this.#state = state;
  }

  /** Changes some fields of one authority. @throws IdentityError `unavailable` */
  async update(authority: LocalAuthority, fields: Partial<LocalAuthority>): Promise<LocalAuthority> {
    const updated = { ...authority, ...fields };
    await this.change((each) => (each.kind === authority.kind && each.id === authority.id ? updated : each));
    return updated;
  }
}
