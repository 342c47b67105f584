import { connect, type Socket } from 'node:net';
import {
  DBUS_CALL,
  DBUS_ERROR,
  DBUS_RETURN,
  dbusMessageLength,
  type DbusMessage,
  decodeDbusMessage,
  encodeDbusMessage,
} from '../../agent/workload-attest/dbus-message.ts';

/** A unit as systemd describes it on the bus. */
export interface StandInUnit {
  readonly id: string;
  readonly fragmentPath: string;
}

const UNIT_PATH = '/org/freedesktop/systemd1/unit/';

/**
 * Owns the name `org.freedesktop.systemd1` on a real message bus and answers as systemd does, as far as attestation asks:
 * `GetUnitByPID` and the properties `Id` and `FragmentPath`.
 */
export class StandInSystemd implements Disposable {
  readonly units = new Map<number, StandInUnit>();
  /** Members that were called. */
  readonly calls: string[] = [];
  readonly #socket: Socket;
  #received = Buffer.alloc(0);
  #serial = 0;
  #named: () => void = () => {};

  constructor(busPath: string) {
    this.#socket = connect(busPath);
    this.#socket.on('data', (chunk) => this.#receive(chunk));
  }

  /** Resolves when the name is ours. */
  async start(): Promise<void> {
    const named = new Promise<void>((resolve) => {
      this.#named = resolve;
    });
    this.#socket.write(`\0AUTH EXTERNAL ${Buffer.from(String(process.geteuid?.())).toString('hex')}\r\nBEGIN\r\n`);
    const bus = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' };
    this.#send({ ...bus, kind: DBUS_CALL, member: 'Hello' });
    const body = ['org.freedesktop.systemd1', 0];
    this.#send({ ...bus, kind: DBUS_CALL, member: 'RequestName', signature: 'su', body });
    await named;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #send(message: Omit<DbusMessage, 'serial'>): void {
    this.#socket.write(encodeDbusMessage({ ...message, serial: ++this.#serial }));
  }

  #receive(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    if (this.#received.subarray(0, 3).toString() === 'OK ') {
      this.#received = this.#received.subarray(this.#received.indexOf('\r\n') + 2);
    }
    for (;;) {
      const length = dbusMessageLength(this.#received);
      if (length === undefined || length > this.#received.length) return;
      this.#answer(decodeDbusMessage(this.#received.subarray(0, length)));
      this.#received = this.#received.subarray(length);
    }
  }

  #answer(call: DbusMessage): void {
    // Two calls of ours: the second answer says that the name was granted.
    if (call.kind === DBUS_RETURN && call.replySerial === 2) this.#named();
    if (call.kind !== DBUS_CALL) return;
    this.calls.push(call.member ?? '');
    const reply = { kind: DBUS_RETURN, replySerial: call.serial, destination: call.sender ?? '' };
    const [first, second] = call.body ?? [];
    if (call.member === 'GetUnitByPID') {
      const unit = this.units.get(Number(first));
      const errorName = 'org.freedesktop.systemd1.NoUnitForPID';
      if (unit === undefined) return this.#send({ ...reply, kind: DBUS_ERROR, errorName });
      return this.#send({ ...reply, signature: 'o', body: [`${UNIT_PATH}pid_${Number(first)}`] });
    }
    const unit = this.units.get(Number(/pid_(\d+)$/.exec(call.path ?? '')?.[1]));
    const value = second === 'Id' ? unit?.id : second === 'FragmentPath' ? unit?.fragmentPath : undefined;
    if (value === undefined || first !== 'org.freedesktop.systemd1.Unit') {
      return this.#send({ ...reply, kind: DBUS_ERROR, errorName: 'org.freedesktop.DBus.Error.UnknownProperty' });
    }
    this.#send({ ...reply, signature: 'v', body: [value] });
  }
}

/** The configuration of a `dbus-daemon` that lets the test's own user do everything. */
export function busConfiguration(socketPath: string): string {
  return `<busconfig><type>system</type><listen>unix:path=${socketPath}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>`;
}
