// A relation store: the real OpenFGA server, built from its Go module, with its data in memory.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { freePort } from './free-port.ts';
import { goTool } from './toolchain.ts';

const MODULE = 'github.com/openfga/openfga/cmd/openfga@v1.22.1';

/** A tuple, or a question about one. */
export interface Tuple {
  readonly user: string;
  readonly relation: string;
  readonly object: string;
}

/** A running server. */
export interface OpenFga extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** Makes a store with a model. */
  createStore(types: readonly object[]): Promise<{ readonly storeId: string; readonly modelId: string }>;
  write(storeId: string, tuples: readonly Tuple[]): Promise<void>;
  remove(storeId: string, tuples: readonly Tuple[]): Promise<void>;
  /** Ends it, as a crash would. */
  kill(): Promise<void>;
}

/** Builds the server unless it is there. */
export function openFgaBinary(): Promise<string> {
  return goTool(MODULE);
}

/** Starts a server; with a key it answers only those who show it. */
export async function startOpenFga({ presharedKey }: { readonly presharedKey?: string } = {}): Promise<OpenFga> {
  const [port, grpcPort] = [await freePort(), await freePort()];
  const authn = presharedKey === undefined ? [] : ['--authn-method=preshared', `--authn-preshared-keys=${presharedKey}`];
  const address = `--http-addr=127.0.0.1:${port}`;
  const off = ['--playground-enabled=false', '--metrics-enabled=false', '--log-level=none'];
  const args = ['run', address, `--grpc-addr=127.0.0.1:${grpcPort}`, ...off, ...authn];
  const child = spawn(await openFgaBinary(), args, { stdio: 'ignore' });
  const ended = once(child, 'close');
  const url = `http://127.0.0.1:${port}`;
  await untilServed(url, () => child.exitCode !== null);
  const kill = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended;
  };
  const post = (path: string, body: object): Promise<Readonly<Record<string, unknown>>> =>
    postJson(url + path, body, presharedKey);
  const change = async (storeId: string, body: object): Promise<void> => void (await post(`/stores/${storeId}/write`, body));
  return {
    port,
    url,
    kill,
    async createStore(types) {
      const { id: storeId } = await post('/stores', { name: 'of-a-test' });
      const model = { schema_version: '1.1', type_definitions: types };
      const { authorization_model_id: modelId } = await post(`/stores/${String(storeId)}/authorization-models`, model);
      return { storeId: String(storeId), modelId: String(modelId) };
    },
    write: (storeId, tuples) => change(storeId, { writes: { tuple_keys: tuples } }),
    remove: (storeId, tuples) => change(storeId, { deletes: { tuple_keys: tuples } }),
    [Symbol.asyncDispose]: kill,
  };
}

async function untilServed(url: string, hasEnded: () => boolean): Promise<void> {
  for (;;) {
    if (
      await fetch(`${url}/healthz`).then(
        ({ ok }) => ok,
        () => false,
      )
    )
      return;
    if (hasEnded()) throw new Error('openfga ended at its start');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function postJson(url: string, body: object, key: string | undefined): Promise<Readonly<Record<string, unknown>>> {
  const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(body), headers });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url}: ${response.status} ${text}`);
  // The cast is sound: the API answers with JSON objects.
  return JSON.parse(text) as Readonly<Record<string, unknown>>;
}
