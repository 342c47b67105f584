import { readFileSync, statSync } from 'node:fs';
import type { Clock } from '../../core/clock.ts';

const CHECK_EVERY_MS = 1000;

/**
 * Names of users or groups by number, from a file such as `/etc/passwd` or `/etc/group`. The file is looked at once a
 * second at most and read when it changed. Accounts that only another name service knows (LDAP, SSSD) have no name here.
 */
export class AccountNames {
  readonly #path: string;
  readonly #clock: Clock;
  #names: ReadonlyMap<number, string> = new Map();
  #version = '';
  #checkedAtMs = -Infinity;

  constructor(path: string, clock: Clock) {
    this.#path = path;
    this.#clock = clock;
  }

  /** The name, or undefined when the file has none. */
  nameOf(id: number): string | undefined {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#checkedAtMs >= CHECK_EVERY_MS) {
      this.#checkedAtMs = nowMs;
      this.#refresh();
    }
    return this.#names.get(id);
  }

  #refresh(): void {
    const file = statSync(this.#path, { bigint: true, throwIfNoEntry: false });
    const version = file === undefined ? '' : `${file.dev} ${file.ino} ${file.size} ${file.mtimeNs} ${file.ctimeNs}`;
    if (version === this.#version) return;
    this.#names = file === undefined ? new Map() : parseAccounts(readFileSync(this.#path, 'utf8'));
    this.#version = version;
  }
}

/** Reads lines of `name:password:number:…`, see passwd(5) and group(5); of several names the first one counts. */
export function parseAccounts(text: string): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const line of text.split('\n')) {
    const [name = '', , number = ''] = line.split(':');
    if (!/^[^#+-]/.test(name) || !/^\d{1,10}$/.test(number)) continue;
    const id = Number(number);
    if (!names.has(id)) names.set(id, name);
  }
  return names;
}
