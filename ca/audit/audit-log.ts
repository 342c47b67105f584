import type { Clock, Timer } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import { AuditFile, shiftFiles } from './audit-file.ts';
import { formatRecord, type AuditRecord } from './audit-record.ts';

/** What an {@link AuditLog} is opened with. */
export interface AuditLogOptions {
  /** Absolute; made with mode 0600. Rotated files get `.1`, `.2`, … behind it. */
  readonly file: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Size at which the file is rotated; 64 MiB unless given. */
  readonly maxBytes?: number | undefined;
  /** How many rotated files are kept; 16 unless given. */
  readonly keepFiles?: number | undefined;
}

const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;
const DEFAULT_KEEP_FILES = 16;
/** How often a file that cannot be written is tried again when nobody asks. */
const RETRY_MS = 1000;
/** How often the file is looked for under its name. */
const CHECK_MS = 1000;
/** A write that takes longer makes the CA unready. */
const STUCK_MS = 5000;

/** Records that go to the disk in one write, and those who wait for it. */
interface Group {
  readonly lines: string[];
  readonly written: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: IdentityError) => void;
}

/**
 * The record of everything issued: JSON lines, on the disk before an SVID leaves. The first writer starts a write at once;
 * those that come while it lasts share the next one. When the file cannot be written, `append` fails with `unavailable` until
 * it can be again: what cannot be recorded is not issued.
 */
export class AuditLog implements AsyncDisposable {
  readonly #options: AuditLogOptions;
  /** Undefined while the file cannot be written. */
  #file: AuditFile | undefined;
  #waiting: Group | undefined;
  #writing: Promise<void> | undefined;
  #writingSinceMs = 0;
  #checkedAtMs: number;
  #fault: string | undefined;
  #retry: Timer | undefined;
  #closed = false;

  private constructor(options: AuditLogOptions, file: AuditFile) {
    this.#options = options;
    this.#file = file;
    this.#checkedAtMs = options.clock.monotonicMs();
  }

  /** Opens the file, mending a last line that a kill left torn. @throws IdentityError `unavailable` */
  static async open(options: AuditLogOptions): Promise<AuditLog> {
    try {
      return new AuditLog(options, await AuditFile.open(options.file));
    } catch (cause) {
      throw new IdentityError('unavailable', faultOf(options.file, cause), { cause });
    }
  }

  /** Resolves when the records are on the disk. @throws IdentityError `unavailable` */
  append(records: readonly AuditRecord[]): Promise<void> {
    if (this.#closed) return Promise.reject(new IdentityError('unavailable', 'the audit log is closed: the CA is stopping'));
    this.#waiting ??= createGroup();
    for (const record of records) this.#waiting.lines.push(formatRecord(record));
    const { written } = this.#waiting;
    this.#writing ??= this.#writeAll();
    return written;
  }

  /** Why nothing can be recorded, and so nothing issued; undefined when all is well. For readiness. */
  fault(): string | undefined {
    const busyMs = this.#writing === undefined ? 0 : this.#options.clock.monotonicMs() - this.#writingSinceMs;
    if (busyMs > STUCK_MS) return `the audit log has not been written for ${Math.round(busyMs / 1000)} s`;
    return this.#fault;
  }

  /** Writes what is waiting and closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#retry?.cancel();
    await this.#writing;
    await this.#file?.close();
  }

  async #writeAll(): Promise<void> {
    for (let group = this.#take(); group !== undefined; group = this.#take()) {
      this.#writingSinceMs = this.#options.clock.monotonicMs();
      try {
        await this.#write(group.lines);
        group.resolve();
      } catch (cause) {
        group.reject(await this.#fail(cause));
      }
    }
    this.#writing = undefined;
  }

  #take(): Group | undefined {
    const group = this.#waiting;
    this.#waiting = undefined;
    return group;
  }

  async #write(lines: readonly string[]): Promise<void> {
    const content = Buffer.from(lines.join(''), 'utf8');
    // Without an await here the write starts in the same turn as the call that asked for it.
    const file = this.#file !== undefined && !this.#mustCheck() ? this.#file : await this.#reopen();
    await file.append(content);
    if (this.#fault !== undefined) this.#recovered();
  }

  #mustCheck(): boolean {
    const { maxBytes = DEFAULT_MAX_BYTES, clock } = this.#options;
    return (this.#file?.bytes ?? 0) >= maxBytes || clock.monotonicMs() - this.#checkedAtMs >= CHECK_MS;
  }

  /** The file to write to: a fresh one after a failure, when somebody moved the old one, or when it is full. */
  async #reopen(): Promise<AuditFile> {
    const { file: path, clock, maxBytes = DEFAULT_MAX_BYTES, keepFiles = DEFAULT_KEEP_FILES } = this.#options;
    const isFull = (this.#file?.bytes ?? 0) >= maxBytes;
    this.#checkedAtMs = clock.monotonicMs();
    if (this.#file !== undefined && !isFull && (await this.#file.isInPlace())) return this.#file;
    await this.#file?.close();
    this.#file = undefined;
    if (isFull) await shiftFiles(path, keepFiles);
    this.#file = await AuditFile.open(path);
    return this.#file;
  }

  async #fail(cause: unknown): Promise<IdentityError> {
    if (this.#fault === undefined) this.#options.log.error({ err: cause }, 'audit log cannot be written: nothing is signed');
    this.#fault = faultOf(this.#options.file, cause);
    const file = this.#file;
    this.#file = undefined;
    await file?.close().catch(() => undefined);
    if (!this.#closed) {
      this.#retry?.cancel();
      this.#retry = this.#options.clock.setTimer(RETRY_MS, () => this.#probe());
    }
    // The path and the reason are for the operator: callers of the API are told no more than what it means for them.
    return new IdentityError(
      'unavailable',
      'the audit log cannot be written, so nothing is signed; its reason is in the log of the CA',
      { cause },
    );
  }

  /** Tries the file on its own: a CA that is not ready is asked for nothing, so no request would find out. */
  #probe(): void {
    if (this.#closed) return;
    this.#waiting ??= createGroup();
    // The line marks the gap; the failure was logged when it began, so it is not reported again.
    this.#waiting.lines.push(
      `${JSON.stringify({ time: new Date(this.#options.clock.nowMs()).toISOString(), kind: 'resumed' })}\n`,
    );
    this.#waiting.written.catch(() => undefined);
    this.#writing ??= this.#writeAll();
  }

  #recovered(): void {
    this.#fault = undefined;
    this.#retry?.cancel();
    this.#options.log.info('audit log can be written again');
  }
}

function createGroup(): Group {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  return { lines: [], written: promise, resolve, reject };
}

function faultOf(file: string, cause: unknown): string {
  const reason = cause instanceof Error ? cause.message : 'unknown reason';
  return `cannot write the audit log ${file} (${reason}), so nothing is signed; see to the disk's space and permissions`;
}
