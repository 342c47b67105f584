import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { isEmptyList, parseObjects } from './parse-objects.ts';

/** What {@link ResourceFiles} needs. */
export interface ResourceFilesOptions {
  readonly directory: string;
  readonly clock: Clock;
  /** What tells an object from all others, also from those that are not used here. */
  readonly nameOf: (object: KubeObject) => string;
  /** Tells an object that is used from all others; undefined for one that is not used. */
  readonly idOf: (object: KubeObject) => string | undefined;
  /** Whether an object that is not used cannot have been meant so. */
  readonly isMistaken: (object: KubeObject) => boolean;
}

/** How long something must have been gone from the files before it is taken for gone. */
export const WITHDRAW_MS = 2_000;

const FILE = /\.(ya?ml|json)$/;
const STAYS = 'what it held before stays in force';

interface FileState {
  readonly text: string;
  readonly objects: readonly KubeObject[];
  /** It says itself that it holds nothing: an empty List. */
  readonly isEmptyList: boolean;
}

const GONE: FileState = { text: '', objects: [], isEmptyList: true };

/**
 * The files of a folder and those below it, as they were last good. A file that cannot be read, or that looks like a slip of
 * whoever wrote it, keeps what it held before; what is gone from the files is kept for a moment, because they may be half written.
 */
export class ResourceFiles {
  readonly #options: ResourceFilesOptions;
  readonly #states = new Map<string, FileState>();
  /** Since when a file has had a text that withdraws something, in monotonic milliseconds. */
  readonly #withdrawing = new Map<string, { readonly text: string; readonly sinceMs: number }>();

  constructor(options: ResourceFilesOptions) {
    this.#options = options;
  }

  /** Whether something is gone that may come back in a moment. */
  get isSettling(): boolean {
    return this.#withdrawing.size > 0;
  }

  /** What each file holds, by the order of their names. */
  all(): readonly (readonly [string, readonly KubeObject[]])[] {
    return [...this.#states].sort(([one], [other]) => (one < other ? -1 : 1)).map(([file, { objects }]) => [file, objects]);
  }

  /**
   * Reads what has changed.
   *
   * @param complaints takes what is wrong with files
   * @throws IdentityError when the folder cannot be read
   */
  async read(complaints: string[]): Promise<void> {
    const files = await this.#list();
    const found = new Map<string, FileState>();
    for (const file of files) found.set(file, (await this.#parse(file, complaints)) ?? GONE);
    for (const file of this.#states.keys()) if (!files.includes(file)) found.set(file, GONE);
    for (const [file, next] of found) this.#take(file, { next, found, complaints, isThere: files.includes(file) });
  }

  #take(file: string, { next, found, complaints, isThere }: Taking): void {
    const before = this.#states.get(file);
    // It cannot be read now, which has been complained of.
    if (isThere && next === GONE) return;
    const gone = before === undefined ? [] : this.#goneFrom(before, next, found);
    if (gone.length > 0) {
      const slip = this.#slipOf(next, gone);
      if (slip !== undefined) {
        this.#withdrawing.delete(file);
        return void complaints.push(`${file}: ${slip}; ${STAYS}. Delete the file to withdraw it`);
      }
      if (!this.#hasSettled(file, next)) return;
    }
    this.#withdrawing.delete(file);
    if (isThere) this.#states.set(file, next);
    else this.#states.delete(file);
  }

  /** What a file held that is in no file any more. */
  #goneFrom(before: FileState, next: FileState, found: ReadonlyMap<string, FileState>): readonly KubeObject[] {
    const { idOf } = this.#options;
    if (next.text === before.text && next !== GONE) return [];
    const kept = new Set([next, ...found.values()].flatMap(({ objects }) => objects.map(idOf)));
    return before.objects.filter((object) => idOf(object) !== undefined && !kept.has(idOf(object)));
  }

  /** Why a text that withdraws something looks like a slip; undefined when it does not. */
  #slipOf({ objects, isEmptyList: isMeant }: FileState, gone: readonly KubeObject[]): string | undefined {
    const { idOf, nameOf, isMistaken } = this.#options;
    const names = new Set(gone.map(nameOf));
    const unused = objects.filter((object) => idOf(object) === undefined);
    const mistaken = unused.find((object) => isMistaken(object) || names.has(nameOf(object)));
    if (mistaken !== undefined) return `${mistaken.kind} of ${mistaken.apiVersion} is not known here`;
    return unused.length === objects.length && !isMeant ? 'holds no resource any more' : undefined;
  }

  #hasSettled(file: string, { text }: FileState): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    const known = this.#withdrawing.get(file);
    if (known?.text === text) return nowMs - known.sinceMs >= WITHDRAW_MS;
    this.#withdrawing.set(file, { text, sinceMs: nowMs });
    return false;
  }

  async #parse(file: string, complaints: string[]): Promise<FileState | undefined> {
    const before = this.#states.get(file);
    try {
      const text = await readFile(join(this.#options.directory, file), 'utf8');
      if (before?.text === text) return before;
      const objects = await parseObjects(text);
      return { text, objects, isEmptyList: await isEmptyList(text) };
    } catch (error) {
      const why = error instanceof Error ? error.message : 'unknown reason';
      complaints.push(`${file}: ${why}${before === undefined ? '' : `; ${STAYS}`}`);
      return before;
    }
  }

  async #list(): Promise<readonly string[]> {
    const { directory } = this.#options;
    try {
      const entries = await readdir(directory, { recursive: true, withFileTypes: true });
      return (
        entries
          .filter((entry) => !entry.isDirectory() && FILE.test(entry.name))
          .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
          // The folders behind a mounted ConfigMap's links, and what editors hide.
          .filter((file) => !file.split('/').some((part) => part.startsWith('.')))
          .sort()
      );
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : 'unknown reason';
      const message = `cannot read the folder of resources ${directory} (${why}); name it with --resources DIR`;
      throw new IdentityError('unavailable', message, { cause });
    }
  }
}

interface Taking {
  readonly next: FileState;
  /** What all files hold now. */
  readonly found: ReadonlyMap<string, FileState>;
  readonly complaints: string[];
  readonly isThere: boolean;
}
