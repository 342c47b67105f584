import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { create } from '@bufbuild/protobuf';

import { systemClock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import { SpiffeWorkloadAPI, X509SVIDResponseSchema, type X509SVIDResponse } from '../../proto/gen/spiffe/workload/workload_pb.ts';
import { GrpcServer } from '../../runtime/grpc/server.ts';
import { listenUnix } from '../../runtime/grpc/unix-listener.ts';
import type { IssuedSvid, TestCa } from './test-ca.ts';

/** A Workload API that serves what a test tells it to, on a socket of its own. */
export class StandInAgent implements AsyncDisposable {
  readonly address: string;
  /** What FetchX509SVID answers and pushes; an error is answered as it stands. */
  readonly x509: Current<X509SVIDResponse | IdentityError>;
  /** How often FetchX509SVID was called. */
  fetches = 0;
  /** The metadata `workload.spiffe.io` of each call. */
  readonly securityHeaders: (string | undefined)[] = [];
  readonly #server: GrpcServer<undefined>;
  readonly #resources: AsyncDisposableStack;

  private constructor(path: string, x509: X509SVIDResponse | IdentityError, resources: AsyncDisposableStack) {
    this.address = `unix://${path}`;
    this.x509 = new Current(x509);
    this.#resources = resources;
    this.#server = new GrpcServer<undefined>({ clock: systemClock });
    this.#server.addService(SpiffeWorkloadAPI, {
      fetchX509SVID: (_request, call) => this.#serve(call.metadata.get('workload.spiffe.io'), call.signal),
    });
  }

  static async start(x509: X509SVIDResponse | IdentityError): Promise<StandInAgent> {
    const folder = await mkdtemp(join(tmpdir(), 'countersign-agent-'));
    const resources = new AsyncDisposableStack();
    resources.defer(() => rm(folder, { recursive: true, force: true }));
    const agent = new StandInAgent(join(folder, 'api.sock'), x509, resources);
    resources.use(await listenUnix(agent.#server, join(folder, 'api.sock'), { mode: 0o777, onAccept: () => undefined }));
    return agent;
  }

  async *#serve(header: string | undefined, signal: AbortSignal): AsyncGenerator<X509SVIDResponse> {
    this.fetches += 1;
    this.securityHeaders.push(header);
    for await (const value of this.x509.changes(signal)) {
      if (value instanceof IdentityError) throw value;
      yield value;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.close({ graceMs: 0 });
    await this.#resources.disposeAsync();
  }
}

/** A FetchX509SVID message with one SVID and the bundle of its CA. */
export function x509Response(ca: TestCa, svid: IssuedSvid, federated: Record<string, Uint8Array> = {}): X509SVIDResponse {
  return create(X509SVIDResponseSchema, {
    svids: [
      {
        spiffeId: svid.id.toString(),
        x509Svid: Buffer.concat(svid.chain),
        x509SvidKey: svid.key.privateKey.export({ type: 'pkcs8', format: 'der' }),
        bundle: ca.root.der,
      },
    ],
    federatedBundles: federated,
  });
}
