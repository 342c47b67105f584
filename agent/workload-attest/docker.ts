import { readFile } from 'node:fs/promises';
import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Selector } from '../cache/selectors.ts';
import type { WorkloadAttestor } from './attestor.ts';
import { type CgroupEntry, type ContainerCgroup, containersOf, owningUser, parseCgroups } from './cgroup.ts';
import { ContainerEngine } from './container-engine.ts';
import { FreshAnswers } from './fresh-answers.ts';
import type { ProcessImage } from './process-image.ts';

const FRESH_FOR_MS = 60_000;

/** Options of the `docker` attestor; the names are SPIRE's in camel case. */
export interface DockerAttestorOptions {
  readonly clock: Clock;
  /** `/var/run/docker.sock` unless given. */
  readonly dockerSocketPath?: string | undefined;
  /** Version of the engine's API to ask for; the engine's own unless given. */
  readonly dockerVersion?: string | undefined;
  /** Podman that runs as root; `/run/podman/podman.sock` unless given. */
  readonly podmanSocketPath?: string | undefined;
  /**
   * Podman that runs as a user, `%d` standing for the user ID, such as `/run/user/%d/podman/podman.sock`. Not asked unless
   * given: such a user answers for the labels of the containers, so entries should name `unix:uid` as well.
   */
  readonly podmanSocketPathTemplate?: string | undefined;
  readonly procRoot?: string;
}

/**
 * Selectors of the container that a process runs in, as SPIRE's `docker` attestor has them: `label:NAME:VALUE`,
 * `env:NAME=VALUE`, `image_id:IMAGE` and `image_config_digest:sha256:…`. The container is told by the process's cgroup, and
 * what the engine says of the container must agree with it.
 */
export function createDockerAttestor(options: DockerAttestorOptions): WorkloadAttestor {
  return new DockerAttestor(options);
}

/** A container as one cgroup hierarchy shows it. */
interface Membership extends ContainerCgroup {
  readonly hierarchy: string;
}

class DockerAttestor implements WorkloadAttestor {
  readonly name = 'docker';
  readonly needsCgroups = true;
  // Labels, environment and image of a container never change.
  readonly freshForMs = FRESH_FOR_MS;
  readonly #options: DockerAttestorOptions;
  readonly #engines = new Map<string, ContainerEngine>();
  readonly #answers: FreshAnswers<readonly Selector[]>;

  constructor(options: DockerAttestorOptions) {
    this.#options = options;
    this.#answers = new FreshAnswers({ clock: options.clock, freshForMs: FRESH_FOR_MS });
  }

  attest(image: ProcessImage, signal: AbortSignal): readonly Selector[] | Promise<readonly Selector[]> {
    const membership = membershipOf(image.cgroups);
    if (membership === undefined) return [];
    const socketPath = this.#socketOf(membership);
    // The path is part of the key: a cgroup elsewhere that carries the same ID is not the container.
    const key = `${socketPath} ${membership.hierarchy} ${membership.path}`;
    return this.#answers.get(key, () => this.#inspect(membership, this.#engine(socketPath), signal));
  }

  close(): void {
    for (const engine of this.#engines.values()) engine.close();
  }

  #socketOf({ path }: Membership): string {
    const uid = owningUser(path);
    const podman = /\/libpod(?:-|_parent\/|\/)/.test(path);
    if (uid === undefined) {
      if (podman) return this.#options.podmanSocketPath ?? '/run/podman/podman.sock';
      return this.#options.dockerSocketPath ?? '/var/run/docker.sock';
    }
    const template = this.#options.podmanSocketPathTemplate;
    if (podman && template !== undefined) return template.replace('%d', String(uid));
    throw new IdentityError(
      'permission_denied',
      `the cgroup was made by user ${uid}, who may name it as any container; to trust users' own Podman set podmanSocketPathTemplate`,
    );
  }

  #engine(socketPath: string): ContainerEngine {
    const known = this.#engines.get(socketPath);
    if (known !== undefined) return known;
    const engine = new ContainerEngine({ socketPath, apiVersion: this.#options.dockerVersion });
    this.#engines.set(socketPath, engine);
    return engine;
  }

  async #inspect(membership: Membership, engine: ContainerEngine, signal: AbortSignal): Promise<readonly Selector[]> {
    const { labels, environment, image, pid, running } = await engine.container(membership.id, signal);
    if (!running) throw contradiction(membership, 'the engine says that it does not run');
    if (pid > 0) await this.#requireSameCgroup(membership, pid);
    const selectors = Object.entries(labels).map(([name, value]) => docker('label', `${name}:${value}`));
    for (const variable of environment) selectors.push(docker('env', variable));
    if (image === '') return selectors;
    selectors.push(docker('image_id', image));
    // As in SPIRE, an image that is gone costs its digest only.
    const digest = await engine.imageConfigDigest(image, signal).catch(() => '');
    return digest === '' ? selectors : [...selectors, docker('image_config_digest', digest)];
  }

  /**
   * Whoever may make cgroups below some service can name one after somebody else's container. So the container's first
   * process, which the engine names, has to be in the same cgroup. One that our `/proc` does not show (an engine in a
   * virtual machine) proves nothing either way.
   */
  async #requireSameCgroup(membership: Membership, pid: number): Promise<void> {
    const path = `${this.#options.procRoot ?? '/proc'}/${pid}/cgroup`;
    const text = await readFile(path, 'utf8').catch(() => undefined);
    if (text === undefined) return;
    const entry = parseCgroups(text).find(({ hierarchy }) => hierarchy === membership.hierarchy);
    const [container] = containersOf(entry?.path ?? '');
    if (container?.path !== membership.path) throw contradiction(membership, 'its first process is in another cgroup');
  }
}

/** The outermost container, on which all hierarchies that show one agree; undefined for a process outside of containers. */
function membershipOf(cgroups: readonly CgroupEntry[]): Membership | undefined {
  let found: Membership | undefined;
  for (const { hierarchy, path } of cgroups) {
    const [container] = containersOf(path);
    if (container === undefined) continue;
    if (found !== undefined && found.id !== container.id) {
      throw new IdentityError('permission_denied', `the cgroups name two containers, ${found.id} and ${container.id}`);
    }
    found ??= { ...container, hierarchy };
  }
  return found;
}

function contradiction({ id, path }: Membership, why: string): IdentityError {
  return new IdentityError('permission_denied', `the cgroup ${path} does not belong to the container ${id}: ${why}`);
}

function docker(kind: string, value: string): Selector {
  return { type: 'docker', value: `${kind}:${value}` };
}
