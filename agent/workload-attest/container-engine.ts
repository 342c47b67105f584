import { Agent, request } from 'node:http';
import { IdentityError } from '../../core/errors.ts';

const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

/** What the engine says about a container; only what selectors and the membership check need. */
export interface ContainerDescription {
  readonly labels: Readonly<Record<string, string>>;
  /** `NAME=value` each. */
  readonly environment: readonly string[];
  /** As it was named when the container was made, such as `envoyproxy/envoy:contrib-v1.29.1`. */
  readonly image: string;
  /** The container's first process; 0 when the engine does not tell. */
  readonly pid: number;
  readonly running: boolean;
}

/** The read-only part of the Docker Engine API that attestation needs, over the engine's unix socket; Podman speaks it too. */
export class ContainerEngine {
  readonly #socketPath: string;
  readonly #prefix: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 4 });

  constructor(options: { readonly socketPath: string; readonly apiVersion?: string | undefined }) {
    this.#socketPath = options.socketPath;
    this.#prefix = options.apiVersion === undefined ? '' : `/v${options.apiVersion}`;
  }

  /**
   * `GET /containers/{id}/json`.
   *
   * @throws IdentityError `not_found` when the engine has no such container, `unavailable` when it does not answer
   */
  async container(id: string, signal: AbortSignal): Promise<ContainerDescription> {
    return readContainer(await this.#get(`/containers/${id}/json`, signal));
  }

  /** `GET /images/{name}/json`: the digest of the image's configuration, such as `sha256:9f86…`. Throws as {@link container}. */
  async imageConfigDigest(name: string, signal: AbortSignal): Promise<string> {
    const path = encodeURI(name).replaceAll(/[?#]/g, encodeURIComponent);
    return text(mapping(await this.#get(`/images/${path}/json`, signal))['Id']);
  }

  close(): void {
    this.#agent.destroy();
  }

  #get(path: string, signal: AbortSignal): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const unavailable = (cause: unknown): void =>
      reject(new IdentityError('unavailable', `the container engine at ${this.#socketPath} does not answer`, { cause }));
    const options = { agent: this.#agent, socketPath: this.#socketPath, path: this.#prefix + path, signal };
    const call = request({ ...options, headers: { host: 'engine', accept: 'application/json' } }, (response) => {
      readBody(response, response.statusCode ?? 0).then(resolve, (error: unknown) =>
        error instanceof IdentityError ? reject(error) : unavailable(error),
      );
    });
    call.on('error', unavailable);
    call.end();
    return promise;
  }
}

async function readBody(response: AsyncIterable<Buffer>, statusCode: number): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw new IdentityError('resource_exhausted', 'the container engine answered with over 4 MiB');
    chunks.push(chunk);
  }
  // The body of a failure is left out: it repeats what was asked and belongs to another program.
  if (statusCode === 404) throw new IdentityError('not_found', 'the container engine does not know the container or image');
  if (statusCode !== 200) throw new IdentityError('unavailable', `the container engine answered with HTTP status ${statusCode}`);
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

function readContainer(answer: unknown): ContainerDescription {
  const { Config: config, State: state } = mapping(answer);
  const { Labels: labels, Env: environment, Image: image } = mapping(config);
  const { Pid: pid, Running: running } = mapping(state ?? {});
  return {
    labels: Object.fromEntries(Object.entries(mapping(labels ?? {})).map(([name, value]) => [name, text(value)])),
    environment: list(environment ?? []).map(text),
    image: text(image ?? ''),
    pid: typeof pid === 'number' && Number.isSafeInteger(pid) ? pid : 0,
    running: running !== false,
  };
}

function mapping(value: unknown): Readonly<Record<string, unknown>> {
  // Sound: every object that is no list may be read by any name, as unknown.
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw unexpected();
}

function list(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw unexpected();
}

function text(value: unknown): string {
  if (typeof value === 'string') return value;
  throw unexpected();
}

function unexpected(): IdentityError {
  return new IdentityError('unavailable', 'the container engine answered in an unknown form');
}
