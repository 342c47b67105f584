import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Current } from '../../../core/current.ts';
import { SpiffeWorkloadAPI } from '../../../proto/gen/spiffe/workload/workload_pb.ts';
import { addHealth } from '../../../runtime/grpc/health.ts';
import { addReflection } from '../../../runtime/grpc/reflection.ts';
import { GrpcServer } from '../../../runtime/grpc/server.ts';
import { listenUnix } from '../../../runtime/grpc/unix-listener.ts';
import { goTool, isInstalled } from '../../support/toolchain.ts';
import { addInteropServices } from './interop-services.ts';

const run = promisify(execFile);

function newServer(): GrpcServer<string> {
  const server = new GrpcServer<string>();
  addInteropServices(server);
  server.addService(SpiffeWorkloadAPI, {});
  addHealth(server, new Current(true));
  addReflection(server);
  return server;
}

describe.skipIf(!isInstalled('go'))('h2spec (needs go)', () => {
  const server = newServer();
  const listener = createServer((socket) => server.handleConnection(socket, 'anyone'));
  let h2spec: string;

  beforeAll(async () => {
    h2spec = await goTool('github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible');
    await new Promise<void>((resolve) => {
      listener.listen(0, '127.0.0.1', resolve);
    });
  });

  afterAll(async () => {
    listener.close();
    await server.close({ graceMs: 0 });
  });

  it('finds no more faults than in @grpc/grpc-js, which has 15', async () => {
    // The cast is sound: a listener on a TCP port has an AddressInfo.
    const { port } = listener.address() as AddressInfo;
    // h2spec ends with 1 as soon as one case fails.
    const { stdout } = await run(h2spec, ['-h', '127.0.0.1', '-p', `${port}`, '-o', '1']).catch(
      (error: { stdout: string }) => error,
    );
    const [, tests, passed, failed] = /(\d+) tests, (\d+) passed, \d+ skipped, (\d+) failed/.exec(stdout) ?? [];
    expect(Number(tests)).toBe(145);
    expect(Number(passed)).toBeGreaterThanOrEqual(126);
    expect(Number(failed)).toBeLessThanOrEqual(15);
  });
});

describe.skipIf(!isInstalled('go'))('grpcurl over a unix socket (needs go)', () => {
  const server = newServer();
  let folder: string;
  let grpcurl: (...args: string[]) => Promise<string>;

  beforeAll(async () => {
    const binary = await goTool('github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4');
    folder = await mkdtemp(join(tmpdir(), 'countersign-grpcurl-'));
    const socket = join(folder, 'api.sock');
    await listenUnix(server, socket, { mode: 0o600, onAccept: () => 'me' });
    const isOption = (arg: string): boolean => arg.startsWith('-') || arg.startsWith('{');
    grpcurl = async (...args) => {
      const options = args.filter(isOption);
      const rest = args.filter((arg) => !isOption(arg));
      return (await run(binary, ['-plaintext', '-unix', ...options, socket, ...rest])).stdout;
    };
  });

  afterAll(async () => {
    await server.close({ graceMs: 0 });
    await rm(folder, { recursive: true });
  });

  it('lists the services', async () => {
    expect((await grpcurl('list')).trim().split('\n')).toEqual([
      'SpiffeWorkloadAPI',
      'grpc.health.v1.Health',
      'grpc.reflection.v1.ServerReflection',
      'grpc.reflection.v1alpha.ServerReflection',
      'grpc.testing.TestService',
      'xds.service.orca.v3.OpenRcaService',
    ]);
  });

  it('lists methods and describes messages with their imports', async () => {
    expect(await grpcurl('list', 'grpc.health.v1.Health')).toContain('grpc.health.v1.Health.Watch');
    expect(await grpcurl('describe', 'SpiffeWorkloadAPI.ValidateJWTSVID')).toContain('.ValidateJWTSVIDResponse');
    expect(await grpcurl('describe', 'ValidateJWTSVIDResponse')).toContain('.google.protobuf.Struct claims');
  });

  it('calls by what reflection told it', async () => {
    const check = await grpcurl('-d', '{"service":"SpiffeWorkloadAPI"}', 'grpc.health.v1.Health/Check');
    expect(JSON.parse(check)).toEqual({ status: 'SERVING' });
    const list = await grpcurl('grpc.health.v1.Health/List');
    expect(JSON.parse(list)).toMatchObject({ statuses: { '': { status: 'SERVING' } } });
  });

  it('is told what is unknown', async () => {
    await expect(grpcurl('describe', 'no.Such')).rejects.toThrow(/no\.Such/);
    await expect(grpcurl('-d', '{"service":"no.Such"}', 'grpc.health.v1.Health/Check')).rejects.toThrow(/NotFound/);
    await expect(grpcurl('SpiffeWorkloadAPI/ValidateJWTSVID')).rejects.toThrow(/Unimplemented/);
  });
});
