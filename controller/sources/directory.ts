import { watch } from 'node:fs';
import { sleep, type Clock, type Timer } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { objectKey, type KubeObject } from '../../runtime/kubernetes/object.ts';
import { apiVersionOf, type ResourceType } from '../../runtime/kubernetes/resource-types.ts';
import type { ObjectKind, ResourceSource } from './object-kind.ts';
import { ResourceFiles, WITHDRAW_MS } from './resource-files.ts';

/** What {@link DirectorySource} needs. */
export interface DirectorySourceOptions {
  readonly directory: string;
  readonly clock: Clock;
  /** Told of everything that a file holds and that cannot be used, once. */
  readonly complain: (message: string) => void;
  /** How often the folder is read although nothing was reported; 10 s unless given. */
  readonly rescanMs?: number;
}

const RESCAN_MS = 10_000;
/** Editors write in several steps. */
const SETTLE_MS = 30;

interface Placed {
  readonly kind: ObjectKind;
  readonly object: KubeObject;
  /** To see whether it changed. */
  readonly text: string;
}

/** Objects of YAML and JSON files in a folder and those below it. What a broken file held before stays in force, see {@link ResourceFiles}. */
export class DirectorySource implements ResourceSource {
  readonly #options: DirectorySourceOptions;
  readonly #files: ResourceFiles;
  #present = new Map<string, Placed>();
  #complaints: ReadonlySet<string> = new Set();
  #kinds: readonly ObjectKind[] = [];
  readonly outage = new Current<string | undefined>(undefined);

  constructor(options: DirectorySourceOptions) {
    this.#options = options;
    this.#files = new ResourceFiles({
      ...options,
      nameOf: ({ metadata: { namespace = '', name = '' } }) => `${namespace}/${name}`,
      idOf: (object) => this.#idOf(object),
      isMistaken: (object) => this.#isMistaken(object),
    });
  }

  async follow(kinds: readonly ObjectKind[], signal: AbortSignal): Promise<void> {
    this.#kinds = kinds;
    await this.#scan();
    void this.#rescan(signal);
  }

  reload(plurals: readonly string[]): void {
    for (const [id, { kind, object }] of this.#present) if (plurals.includes(kind.type.plural)) kind.read(object)(keyOf(id));
  }

  read(
    type: ResourceType,
    { namespace, name }: { readonly namespace?: string; readonly name: string },
  ): Promise<KubeObject | undefined> {
    const key = namespace === undefined || namespace === '' ? name : `${namespace}/${name}`;
    return Promise.resolve(this.#present.get(idOf(type, key))?.object);
  }

  async #rescan(signal: AbortSignal): Promise<void> {
    const { clock, directory, rescanMs = RESCAN_MS } = this.#options;
    let wake: () => void = () => {};
    let timer: Timer | undefined;
    const onChange = (): void => {
      timer?.cancel();
      timer = clock.setTimer(SETTLE_MS, () => wake());
    };
    const watcher = watch(directory, { recursive: true, signal });
    watcher.on('change', onChange).on('error', () => {});
    while (!signal.aborted) {
      const changed = new Promise<void>((resolve) => (wake = resolve));
      const ended = new AbortController();
      const restMs = this.#files.isSettling ? Math.min(rescanMs, WITHDRAW_MS) : rescanMs;
      await Promise.race([changed, sleep(clock, restMs, AbortSignal.any([signal, ended.signal])).catch(() => {})]);
      ended.abort();
      if (!signal.aborted) await this.#tryScan();
    }
    timer?.cancel();
  }

  async #tryScan(): Promise<void> {
    try {
      await this.#scan();
      this.outage.set(undefined);
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'unknown reason';
      this.outage.set(reason);
      this.#complainOf([reason]);
    }
  }

  /** @throws IdentityError when the folder cannot be read */
  async #scan(): Promise<void> {
    const complaints: string[] = [];
    await this.#files.read(complaints);
    const next = this.#place(complaints);
    // What is gone goes first, so that a name that moved from one kind to another is free.
    for (const [id, { kind }] of this.#present) if (!next.has(id)) kind.remove(keyOf(id));
    // In the order of the kinds: what is declared says how much of the others is kept.
    const order = new Map(this.#kinds.map((kind, index) => [kind, index]));
    const rank = ({ kind }: Placed): number => order.get(kind) ?? 0;
    for (const [id, placed] of [...next].sort(([, one], [, other]) => rank(one) - rank(other))) {
      if (this.#present.get(id)?.text !== placed.text) placed.kind.read(placed.object)(keyOf(id));
    }
    this.#present = next;
    this.#complainOf(complaints);
  }

  #kindOf(object: KubeObject): ObjectKind | undefined {
    return this.#kinds.find(({ type }) => type.kind === object.kind && apiVersionOf(type) === object.apiVersion);
  }

  #idOf(object: KubeObject): string | undefined {
    const kind = this.#kindOf(object);
    return kind && idOf(kind.type, placeOf(kind.type, object));
  }

  /** Whether it is of a group that declares something, but of no kind of it. */
  #isMistaken({ apiVersion = '' }: KubeObject): boolean {
    return this.#kinds.some(({ type, optional }) => optional && apiVersion.startsWith(`${type.group}/`));
  }

  #place(complaints: string[]): Map<string, Placed> {
    const placed = new Map<string, Placed>();
    for (const [file, objects] of this.#files.all()) {
      for (const object of objects) {
        const kind = this.#kindOf(object);
        if (kind === undefined) {
          complaints.push(`${file}: ${object.kind ?? 'an object'} of ${object.apiVersion ?? 'no version'} is not used here`);
          continue;
        }
        const id = idOf(kind.type, placeOf(kind.type, object));
        if (placed.has(id))
          complaints.push(`${file}: ${kind.type.kind} ${keyOf(id)} is there a second time; the first one holds`);
        else placed.set(id, { kind, object, text: JSON.stringify(object) });
      }
    }
    return this.#withNamespaces(placed);
  }

  /** Nobody should have to write a Namespace for each pod: those that are missing have no label but their name. */
  #withNamespaces(placed: Map<string, Placed>): Map<string, Placed> {
    const kind = this.#kinds.find(({ type }) => type.plural === 'namespaces');
    if (kind === undefined) return placed;
    // What is added meanwhile is a Namespace, which is in none.
    for (const { object } of placed.values()) {
      const name = object.metadata.namespace ?? '';
      const id = idOf(kind.type, name);
      if (name === '' || placed.has(id)) continue;
      const labels = { 'kubernetes.io/metadata.name': name };
      const made: KubeObject = { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
      placed.set(id, { kind, object: made, text: JSON.stringify(made) });
    }
    return placed;
  }

  #complainOf(complaints: readonly string[]): void {
    for (const complaint of complaints) if (!this.#complaints.has(complaint)) this.#options.complain(complaint);
    this.#complaints = new Set(complaints);
  }
}

/** The key of an object; what a file says of the namespace of something that has none does not matter. */
function placeOf({ namespaced }: ResourceType, object: KubeObject): string {
  return namespaced ? objectKey(object) : (object.metadata.name ?? '');
}

function idOf({ group, kind }: ResourceType, key: string): string {
  return `${kind}.${group}\n${key}`;
}

function keyOf(id: string): string {
  return id.slice(id.indexOf('\n') + 1);
}
