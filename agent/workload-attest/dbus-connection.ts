import { connect, type Socket } from 'node:net';
import { IdentityError } from '../../core/errors.ts';
import {
  DBUS_CALL,
  DBUS_ERROR,
  DBUS_RETURN,
  dbusMessageLength,
  type DbusMessage,
  type DbusValue,
  decodeDbusMessage,
  encodeDbusMessage,
} from './dbus-message.ts';

/** A method call; `signature` tells the types of `body`. */
export type DbusCall = Required<Pick<DbusMessage, 'destination' | 'path' | 'interface' | 'member'>> &
  Pick<DbusMessage, 'signature' | 'body'>;

/** The called service answered with an error; `name` is the error's D-Bus name. */
export class DbusError extends IdentityError {
  readonly errorName: string;

  constructor(errorName: string) {
    super('unavailable', `the bus answered ${errorName}`);
    this.name = 'DbusError';
    this.errorName = errorName;
  }
}

interface Pending {
  readonly resolve: (body: readonly DbusValue[]) => void;
  readonly reject: (error: unknown) => void;
}

/** A client's connection to a message bus over a unix socket, authenticated by the kernel's peer credentials (EXTERNAL). */
export class DbusConnection {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  #received = Buffer.alloc(0);
  #authenticated = false;
  #serial = 0;
  #failure: IdentityError | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Connects, authenticates and says hello. Throws IdentityError `unavailable`. */
  static async open(path: string, signal: AbortSignal): Promise<DbusConnection> {
    const socket = connect({ path });
    const connection = new DbusConnection(socket);
    socket.on('data', (chunk) => connection.#receive(chunk));
    socket.on('error', (cause) => connection.#fail(`no message bus answers at ${path}`, cause));
    socket.on('close', () => connection.#fail('the message bus closed the connection'));
    // A user ID in decimal digits, those in hexadecimal; the line begins after one zero byte: "Authentication Protocol".
    const user = Buffer.from(String(process.geteuid?.() ?? '')).toString('hex');
    socket.write(`\0AUTH EXTERNAL ${user}\r\n`);
    const bus = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' };
    try {
      await connection.call({ ...bus, member: 'Hello' }, signal);
    } catch (error) {
      connection.close();
      throw error;
    }
    return connection;
  }

  get closed(): boolean {
    return this.#failure !== undefined;
  }

  /**
   * The body of the answer.
   *
   * @throws DbusError when the service answers with an error, IdentityError `unavailable` when the connection breaks, the
   *   signal's reason when it aborts
   */
  async call(call: DbusCall, signal: AbortSignal): Promise<readonly DbusValue[]> {
    if (this.#failure !== undefined) throw this.#failure;
    signal.throwIfAborted();
    const serial = ++this.#serial;
    const { promise, resolve, reject } = Promise.withResolvers<readonly DbusValue[]>();
    this.#pending.set(serial, { resolve, reject });
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const message = encodeDbusMessage({ ...call, kind: DBUS_CALL, serial });
    if (this.#authenticated) this.#socket.write(message);
    else this.#queued.push(message);
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#pending.delete(serial);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Messages that wait for the authentication to end. */
  readonly #queued: Buffer[] = [];

  #receive(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    try {
      if (!this.#authenticated && !this.#authenticate()) return;
      for (let length = this.#nextLength(); length !== undefined; length = this.#nextLength()) {
        this.#dispatch(decodeDbusMessage(this.#received.subarray(0, length)));
        this.#received = this.#received.subarray(length);
      }
    } catch (cause) {
      this.#fail('the message bus does not speak D-Bus', cause);
    }
  }

  #authenticate(): boolean {
    const end = this.#received.indexOf('\r\n');
    if (end < 0 && this.#received.length < 1024) return false;
    const line = this.#received.toString('latin1', 0, Math.max(0, end));
    if (!line.startsWith('OK ')) throw new IdentityError('unavailable', 'the message bus refused to authenticate the agent');
    this.#received = this.#received.subarray(end + 2);
    this.#authenticated = true;
    this.#socket.write(Buffer.concat([Buffer.from('BEGIN\r\n'), ...this.#queued.splice(0)]));
    return true;
  }

  #nextLength(): number | undefined {
    const length = dbusMessageLength(this.#received);
    return length !== undefined && length <= this.#received.length ? length : undefined;
  }

  #dispatch({ kind, replySerial, errorName, body }: DbusMessage): void {
    const pending = this.#pending.get(replySerial ?? 0);
    if (kind === DBUS_RETURN) pending?.resolve(body ?? []);
    if (kind === DBUS_ERROR) pending?.reject(new DbusError(errorName ?? ''));
  }

  #fail(message: string, cause?: unknown): void {
    this.#failure ??= new IdentityError('unavailable', message, { cause });
    for (const { reject } of this.#pending.values()) reject(this.#failure);
    this.#socket.destroy();
  }
}
