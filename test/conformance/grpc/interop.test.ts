import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { GrpcServer } from '../../../runtime/grpc/server.ts';
import { listenTls, type TlsListener } from '../../../runtime/grpc/tls-listener.ts';
import { goTool, isInstalled } from '../../support/toolchain.ts';
import { createAuthority } from './certificates.ts';
import { addInteropServices } from './interop-services.ts';

const run = promisify(execFile);

// Every case of the client but those that need credentials of a cloud.
const CASES = [
  'empty_unary',
  'large_unary',
  'client_streaming',
  'server_streaming',
  'ping_pong',
  'empty_stream',
  'timeout_on_sleeping_server',
  'cancel_after_begin',
  'cancel_after_first_response',
  'status_code_and_message',
  'special_status_message',
  'custom_metadata',
  'unimplemented_method',
  'unimplemented_service',
  'pick_first_unary',
  'orca_per_rpc',
  'orca_oob',
  'rpc_soak',
  'channel_soak',
];

// Cases in which the client's balancer looks at load reports.
const BALANCER = `-service_config_json=${JSON.stringify({ loadBalancingConfig: [{ test_backend_metrics_load_balancer: {} }] })}`;

function flagsOf(name: string): string[] {
  return [`-test_case=${name}`, ...(name.startsWith('orca_') ? [BALANCER] : [])];
}

const HOST = 'interop.example.org';

describe.skipIf(!isInstalled('go'))("the gRPC project's interop client (needs go)", () => {
  const server = new GrpcServer<string>();
  let client: string;
  let folder: string;
  let plain: Server;
  let tls: TlsListener;

  beforeAll(async () => {
    client = await goTool('google.golang.org/grpc/interop/client@v1.85.0');
    folder = await mkdtemp(join(tmpdir(), 'countersign-interop-'));
    addInteropServices(server);
    plain = createServer((socket) => server.handleConnection(socket, 'anyone'));
    await new Promise<void>((resolve) => {
      plain.listen(0, '127.0.0.1', resolve);
    });
    const authority = await createAuthority();
    const credentials = await authority.issue({ dns: HOST });
    tls = await listenTls(server, { host: '127.0.0.1', port: 0, credentials, verifyPeer: () => 'anyone' });
    await writeFile(join(folder, 'root.pem'), authority.rootPem);
  });

  afterAll(async () => {
    plain.close();
    await tls.close();
    await server.close({ graceMs: 0 });
    await rm(folder, { recursive: true });
  });

  it.for(CASES)('%s in plaintext', async (name) => {
    // The cast is sound: a listener on a TCP port has an AddressInfo.
    const { port } = plain.address() as AddressInfo;
    await run(client, ['-server_host=127.0.0.1', `-server_port=${port}`, ...flagsOf(name)]);
  });

  it.for(CASES)('%s over TLS', async (name) => {
    const trust = ['-use_tls', '-use_test_ca', `-ca_file=${join(folder, 'root.pem')}`, `-server_host_override=${HOST}`];
    await run(client, ['-server_host=127.0.0.1', `-server_port=${tls.port}`, ...flagsOf(name), ...trust]);
  });
});
