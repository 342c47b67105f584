import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Selector } from '../cache/selectors.ts';
import type { WorkloadAttestor } from './attestor.ts';
import { systemdPath } from './cgroup.ts';
import { DbusConnection, DbusError } from './dbus-connection.ts';
import { FreshAnswers } from './fresh-answers.ts';
import type { ProcessImage } from './process-image.ts';

const FRESH_FOR_MS = 5000;
const MANAGER = { destination: 'org.freedesktop.systemd1', path: '/org/freedesktop/systemd1' };
const NO_UNIT = 'org.freedesktop.systemd1.NoUnitForPID';

/** Options of the `systemd` attestor. */
export interface SystemdAttestorOptions {
  readonly clock: Clock;
  /** The system bus; `/var/run/dbus/system_bus_socket` unless given. */
  readonly systemBusSocketPath?: string | undefined;
}

/**
 * Selectors of the systemd unit that a process runs in, as SPIRE's `systemd` attestor has them: `id:UNIT` and
 * `fragment_path:FILE`. Asked of systemd by D-Bus (`GetUnitByPID`); a process of no unit has no selector.
 */
export function createSystemdAttestor(options: SystemdAttestorOptions): WorkloadAttestor {
  return new SystemdAttestor(options);
}

class SystemdAttestor implements WorkloadAttestor {
  readonly name = 'systemd';
  readonly needsCgroups = true;
  // A unit's file may move with `systemctl daemon-reload`.
  readonly freshForMs = FRESH_FOR_MS;
  readonly #socketPath: string;
  readonly #connections: FreshAnswers<DbusConnection>;
  readonly #units: FreshAnswers<readonly Selector[]>;
  #connection: DbusConnection | undefined;

  constructor({ clock, systemBusSocketPath }: SystemdAttestorOptions) {
    this.#socketPath = systemBusSocketPath ?? '/var/run/dbus/system_bus_socket';
    this.#connections = new FreshAnswers({ clock, freshForMs: 0 });
    this.#units = new FreshAnswers({ clock, freshForMs: FRESH_FOR_MS });
  }

  attest(image: ProcessImage, signal: AbortSignal): readonly Selector[] | Promise<readonly Selector[]> {
    const path = systemdPath(image.cgroups);
    // systemd tells the unit by the cgroup, so its processes share an answer. Those in the root may differ, and a pid is
    // no key: it may be another process's within the answer's time.
    const shared = path !== undefined && path !== '/';
    const known = shared ? this.#units.peek(path) : undefined;
    if (known !== undefined) return known;
    // Throws at once while the bus is known to be away: on a machine without systemd no caller waits for it.
    this.#connections.peek('');
    const ask = (): Promise<readonly Selector[]> => unitOf(image.pid, this.#bus(signal), signal);
    return shared ? this.#units.get(path, ask) : ask();
  }

  close(): void {
    this.#connection?.close();
  }

  async #bus(signal: AbortSignal): Promise<DbusConnection> {
    if (this.#connection?.closed === false) return this.#connection;
    return this.#connections.get('', async () => {
      this.#connection = await DbusConnection.open(this.#socketPath, signal);
      return this.#connection;
    });
  }
}

async function unitOf(pid: number, opened: Promise<DbusConnection>, signal: AbortSignal): Promise<Selector[]> {
  const bus = await opened;
  const path = await unitPath(pid, bus, signal);
  if (path === undefined) return [];
  const property = (name: string): Promise<string> => unitProperty(path, name, bus, signal);
  const [id, fragmentPath] = await Promise.all([property('Id'), property('FragmentPath')]);
  return [
    { type: 'systemd', value: `id:${id}` },
    { type: 'systemd', value: `fragment_path:${fragmentPath}` },
  ];
}

async function unitPath(pid: number, bus: DbusConnection, signal: AbortSignal): Promise<string | undefined> {
  const call = { ...MANAGER, interface: 'org.freedesktop.systemd1.Manager', member: 'GetUnitByPID', signature: 'u', body: [pid] };
  try {
    return text(await bus.call(call, signal));
  } catch (error) {
    if (error instanceof DbusError && error.errorName === NO_UNIT) return undefined;
    throw error;
  }
}

async function unitProperty(path: string, name: string, bus: DbusConnection, signal: AbortSignal): Promise<string> {
  const body = ['org.freedesktop.systemd1.Unit', name];
  const call = { interface: 'org.freedesktop.DBus.Properties', member: 'Get', signature: 'ss', body };
  return text(await bus.call({ ...MANAGER, path, ...call }, signal));
}

function text([value]: readonly unknown[]): string {
  if (typeof value === 'string') return value;
  throw new IdentityError('unavailable', 'systemd answered in an unknown form');
}
