import type { Clock } from '../../core/clock.ts';
import type { Selector } from '../cache/selectors.ts';
import { AccountNames } from './account-names.ts';
import type { WorkloadAttestor } from './attestor.ts';
import { ExecutableDigests } from './executable-digest.ts';
import type { ExecutableFile, ProcessImage } from './process-image.ts';

/** Options of the `unix` attestor; the names are SPIRE's in camel case. */
export interface UnixAttestorOptions {
  readonly clock: Clock;
  /** Whether `path` and `sha256` are found out; true unless given. */
  readonly discoverWorkloadPath?: boolean | undefined;
  /** Executables above this many bytes get no `sha256`; 0 is no limit, a negative number turns `sha256` off. 256 MiB unless given. */
  readonly workloadSizeLimit?: number | undefined;
  readonly passwdFile?: string;
  readonly groupFile?: string;
  readonly procRoot?: string;
}

export const DEFAULT_WORKLOAD_SIZE_LIMIT_BYTES = 256 * 1024 * 1024;

/**
 * Selectors from the process itself, as SPIRE's `unix` attestor has them: `uid`, `user`, `gid`, `group` (effective),
 * `supplementary_gid`, `supplementary_group`, `path` and `sha256`. A property that cannot be told is left out.
 */
export function createUnixAttestor(options: UnixAttestorOptions): WorkloadAttestor {
  return new UnixAttestor(options);
}

class UnixAttestor implements WorkloadAttestor {
  readonly name = 'unix';
  readonly needsCgroups = false;
  // User and group names are looked up again after this long.
  readonly freshForMs = 1000;
  readonly #options: UnixAttestorOptions;
  readonly #users: AccountNames;
  readonly #groups: AccountNames;
  readonly #digests = new ExecutableDigests();

  constructor(options: UnixAttestorOptions) {
    this.#options = options;
    this.#users = new AccountNames(options.passwdFile ?? '/etc/passwd', options.clock);
    this.#groups = new AccountNames(options.groupFile ?? '/etc/group', options.clock);
  }

  attest(image: ProcessImage, signal: AbortSignal): readonly Selector[] | Promise<readonly Selector[]> {
    const selectors = [...this.#accounts(image)];
    const { executable } = image;
    if (executable === undefined || this.#options.discoverWorkloadPath === false) return selectors;
    selectors.push(unix('path', executable.path));
    if (!this.#mayHash(executable)) return selectors;
    const digest = this.#digests.digestOf(executable, `${this.#options.procRoot ?? '/proc'}/${image.pid}/exe`);
    if (typeof digest === 'string') return [...selectors, unix('sha256', digest)];
    // A file that may be executed but not read, that was replaced meanwhile, or whose file server does not answer, costs its
    // digest only.
    return Promise.race([digest, aborted(signal)]).then(
      (hex) => [...selectors, unix('sha256', hex)],
      () => selectors,
    );
  }

  *#accounts({ uid, gid, supplementaryGids }: ProcessImage): Generator<Selector> {
    yield unix('uid', uid);
    yield* named('user', this.#users.nameOf(uid));
    yield unix('gid', gid);
    yield* named('group', this.#groups.nameOf(gid));
    for (const group of supplementaryGids) {
      yield unix('supplementary_gid', group);
      yield* named('supplementary_group', this.#groups.nameOf(group));
    }
  }

  #mayHash({ sizeBytes }: ExecutableFile): boolean {
    const limit = this.#options.workloadSizeLimit ?? DEFAULT_WORKLOAD_SIZE_LIMIT_BYTES;
    return limit === 0 || (limit > 0 && sizeBytes <= limit);
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

function unix(kind: string, value: string | number): Selector {
  return { type: 'unix', value: `${kind}:${value}` };
}

function named(kind: string, name: string | undefined): readonly Selector[] {
  return name === undefined ? [] : [unix(kind, name)];
}
