// A controller in this process, on real sockets, against a real CA.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseDocument } from 'yaml';
import { planController, startController, type RunningController } from '../../controller/app.ts';
import { controllerConfig } from '../../controller/config.ts';
import type { Plan } from '../../controller/plan.ts';
import { systemClock } from '../../core/clock.ts';
import { decode } from '../../core/decode.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { Entry as WireEntry } from '../../proto/gen/spire/api/types/entry_pb.ts';
import { connectGrpc } from '../../runtime/grpc-client.ts';
import { createLogger } from '../../runtime/log.ts';

/** What a {@link ControllerRig} is told. */
export interface ControllerRigOptions {
  /** The CA's private socket. */
  readonly socket: string;
  readonly kubeconfigFile?: string;
  readonly resourcesDir?: string;
  /** More lines of `controller.yaml`. */
  readonly yaml?: string;
}

/** A running controller and what it has printed. */
export class ControllerRig implements AsyncDisposable {
  readonly lines: string[];
  readonly controller: RunningController;
  readonly #folder: string;
  readonly #stop: AbortController;

  private constructor(parts: { controller: RunningController; lines: string[]; folder: string; stop: AbortController }) {
    this.controller = parts.controller;
    this.lines = parts.lines;
    this.#folder = parts.folder;
    this.#stop = parts.stop;
  }

  static async start(options: ControllerRigOptions): Promise<ControllerRig> {
    const lines: string[] = [];
    const stop = new AbortController();
    const folder = mkdtempSync(join(tmpdir(), 'controller-'));
    const controller = await startController(settingsOf(options, folder, lines), stop.signal);
    controller.ended.catch(() => {});
    return new ControllerRig({ controller, lines, folder, stop });
  }

  /** What a run would do. */
  static async plan(options: ControllerRigOptions): Promise<Plan> {
    const folder = mkdtempSync(join(tmpdir(), 'controller-'));
    try {
      const limit = { timeoutMs: 30_000, tell: () => {} };
      return await planController({ ...settingsOf(options, folder, []), ...limit }, new AbortController().signal);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  get httpPort(): number {
    return this.controller.httpPort ?? 0;
  }

  /** The value of a metric without labels. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${this.httpPort}/metrics`)).text();
    return Number(new RegExp(`^${name}(?:{[^}]*})? (.+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
  }

  async isReady(): Promise<boolean> {
    return (await fetch(`http://127.0.0.1:${this.httpPort}/readyz`)).status === 200;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.controller[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function settingsOf({ socket, kubeconfigFile, resourcesDir, yaml = '' }: ControllerRigOptions, folder: string, lines: string[]) {
  const text = `
trustDomain: example.org
ca: { socket: "unix:${socket}" }
${yaml.includes('listen:') ? '' : 'listen: { http: "127.0.0.1:0" }'}
${kubeconfigFile === undefined ? '' : `kubernetes: { kubeconfig: ${kubeconfigFile} }`}
${yaml.includes('leaderElection:') ? '' : 'leaderElection: { namespace: default }'}
${yaml}`;
  const config = decode(controllerConfig(folder), parseDocument(text).toJS());
  const level = process.env['CONTROLLER_LOG'] === undefined ? 'fatal' : 'debug';
  const log = createLogger({ level, name: 'controller' });
  return { config, clock: systemClock, log, resourcesDir, write: (line: string) => void lines.push(line.trimEnd()) };
}

/** All entries at a CA, by SPIFFE ID path. */
export async function entriesAt(socket: string): Promise<readonly WireEntry[]> {
  using connection = connectGrpc({ target: { kind: 'unix', path: socket }, clock: systemClock });
  const { entries } = await connection.client(Entry).listEntries({});
  return entries.toSorted((one, other) => ((one.spiffeId?.path ?? '') < (other.spiffeId?.path ?? '') ? -1 : 1));
}

/** The paths of the SPIFFE IDs of all entries at a CA, sorted. */
export async function pathsAt(socket: string): Promise<readonly string[]> {
  return (await entriesAt(socket)).map(({ spiffeId }) => spiffeId?.path ?? '');
}
