import { JsonLinesProcess } from './json-lines.ts';
import type { JsonLine } from './json-lines.ts';
import { goProgram } from './toolchain.ts';

/** Where the server is and who the client is. Without a bundle and `skipVerify` the connection is plain text. */
export interface SpireClientOptions {
  /** `unix:/path` or `host:port`. */
  readonly address: string;
  readonly trustDomain?: string;
  /** PEM files. The certificate is presented as it is, even an expired one. */
  readonly svidFile?: string;
  readonly keyFile?: string;
  readonly bundleFile?: string;
  readonly skipVerify?: boolean;
  readonly tls12?: boolean;
  /** Takes the client's SVID and bundle from this socket instead of from files. */
  readonly workloadApi?: string;
}

/** A message in protobuf's JSON form: 64-bit integers are strings, bytes are base64, default values are left out. */
export type JsonMessage = Readonly<Record<string, unknown>>;

/** How a call ended. */
export interface CallStatus {
  /** gRPC's name of the code: `OK`, `PERMISSION_DENIED`. */
  readonly code: string;
  readonly message: string;
  /** Status details, each with its `@type`. */
  readonly details: readonly JsonMessage[];
}

export interface CallOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  /** Cancel after this many responses; the status is then `OK`. */
  readonly limit?: number;
}

export interface CallResult extends CallStatus {
  readonly messages: readonly JsonMessage[];
  readonly header: Readonly<Record<string, readonly string[]>>;
  readonly trailer: Readonly<Record<string, readonly string[]>>;
}

/**
 * A Go client (grpc-go with the published SPIRE and Workload API descriptors) on one connection that is held.
 *
 * @example
 * await using client = await SpireClient.connect({ address: `unix:${socket}` });
 * const result = await client.call('spire.api.server.entry.v1.Entry/GetEntry', { id: 'none' });
 * expect(result.code).toBe('NOT_FOUND');
 */
export class SpireClient implements AsyncDisposable {
  readonly #process: JsonLinesProcess;
  readonly #calls = new Map<string, SpireCall>();
  #nextId = 1;

  private constructor(session: JsonLinesProcess) {
    this.#process = session;
    void this.#dispatch();
  }

  /** Builds the client when needed. The connection itself is made by the first call. */
  static async connect(options: SpireClientOptions): Promise<SpireClient> {
    return new SpireClient(new JsonLinesProcess(await goProgram('spireclient'), [...flagsOf(options), 'session']));
  }

  /**
   * One request, and everything the server answers.
   *
   * @param method `package.Service/Method`.
   */
  async call(method: string, request: JsonMessage = {}, options: CallOptions = {}): Promise<CallResult> {
    const opened = this.open(method, options);
    opened.send(request);
    opened.end();
    return opened.result;
  }

  /** Begins a call. For streams, and for requests that are not well-formed messages. */
  open(method: string, { headers = {}, timeoutMs = 30_000, limit = 0 }: CallOptions = {}): SpireCall {
    const id = String(this.#nextId++);
    const opened = new SpireCall((line) => this.#process.write({ id, ...line }));
    this.#calls.set(id, opened);
    this.#process.write({ id, call: method, headers, timeoutMs, limit });
    return opened;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }

  async #dispatch(): Promise<void> {
    for (let line = await this.#process.next(); line !== undefined; line = await this.#process.next()) {
      this.#calls.get(String(line['id']))?.deliver(line);
    }
    for (const opened of this.#calls.values()) opened.fail(new Error(`the client ended: ${this.#process.errors}`));
  }
}

/** A call under way. */
export class SpireCall {
  readonly #write: (line: JsonLine) => void;
  readonly #messages: JsonMessage[] = [];
  readonly #result = Promise.withResolvers<CallResult>();
  #arrival = Promise.withResolvers<void>();
  #read = 0;

  constructor(write: (line: JsonLine) => void) {
    this.#write = write;
    this.#result.promise.catch(() => {}); // whoever asks for the result sees the failure
  }

  /** How it ended, with all messages. Rejects only when the client itself failed. */
  get result(): Promise<CallResult> {
    return this.#result.promise;
  }

  send(message: JsonMessage): void {
    this.#write({ send: message });
  }

  /** Sends these bytes as the message. */
  sendRaw(bytes: Uint8Array): void {
    this.#write({ raw: Buffer.from(bytes).toString('base64') });
  }

  /** Closes the client's side. */
  end(): void {
    this.#write({ end: true });
  }

  cancel(): void {
    this.#write({ cancel: true });
  }

  /** The next response, or undefined when the call has ended. */
  async next(): Promise<JsonMessage | undefined> {
    const ended = this.#result.promise.then(() => true);
    while (this.#read >= this.#messages.length) {
      if (await Promise.race([this.#arrival.promise.then(() => false), ended])) break;
    }
    return this.#messages[this.#read++];
  }

  /** @internal */
  deliver(line: JsonLine): void {
    // The shapes are those of test/go/cmd/spireclient.
    const { message, status, error } = line as { message?: JsonMessage; status?: CallStatus; error?: string };
    if (error !== undefined) this.fail(new Error(error));
    if (message !== undefined) this.#arrived(message);
    if (status !== undefined) {
      // As above.
      const { header = {}, trailer = {} } = line as Pick<Partial<CallResult>, 'header' | 'trailer'>;
      this.#result.resolve({ ...status, messages: this.#messages, header, trailer });
    }
  }

  /** @internal */
  fail(error: Error): void {
    this.#result.reject(error);
  }

  #arrived(message: JsonMessage): void {
    this.#messages.push(message);
    this.#arrival.resolve();
    this.#arrival = Promise.withResolvers();
  }
}

function flagsOf(options: SpireClientOptions): string[] {
  const values = {
    '-addr': options.address,
    '-trust-domain': options.trustDomain,
    '-svid': options.svidFile,
    '-key': options.keyFile,
    '-bundle': options.bundleFile,
    '-workload-api': options.workloadApi,
  };
  const flags = Object.entries(values).flatMap(([flag, value]) => (value === undefined ? [] : [flag, value]));
  if (options.skipVerify === true) flags.push('-skip-verify');
  if (options.tls12 === true) flags.push('-tls12');
  return flags;
}
