// Checks of a real agent that a real Envoy asks for: mTLS from the client on, 10,000 policies, 100 of which are about the service, the
// agent on a core of its own.
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { runToEnd } from '../support/command.ts';
import { httpFilter, RAW_PATHS } from '../support/envoy-authz-rig.ts';
import { Envoy, envoyBinary } from '../support/envoy.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { createTestKey } from '../support/test-keys.ts';
import { goProgram } from '../support/toolchain.ts';
import { client, DESTINATIONS, pin, rulesOf, startOurs } from './authorization.ts';
import type { Figure } from './report.ts';
import { adminOf, type Server } from './stacks.ts';

const SECTION = 'ext-authz';
const ROUNDS = 3;
const AGENT_CORE = '0';
const OTHER_CORES = cpus().length > 1 ? `1-${cpus().length - 1}` : '0';
/** Linux counts processor time in hundredths of a second. */
const TICKS_PER_SECOND = 100;

interface Load {
  readonly rate: number;
  readonly requests: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Time of the processor that the agent took for each check, in microseconds. */
  readonly agentMicros: number;
}

/** Measures allowed and denied requests through Envoy. */
export async function measureExtAuthz(folder: string): Promise<Figure[]> {
  await using resources = new AsyncDisposableStack();
  const rules = Array.from({ length: DESTINATIONS }, (_, index) => rulesOf(index)).flat();
  const { pid, socket, ca } = await startOurs(join(folder, 'ext-authz'), rules, resources);
  pin(pid, AGENT_CORE);
  const sdsSocket = join(dirname(socket), 'api.sock');
  const downstream = { certificate: 'default', validation: 'ROOTCA' };
  const filters = { http: [httpFilter()], manager: RAW_PATHS };
  const envoy = resources.use(
    await Envoy.start({ binary: await envoyBinary(), sdsSocket, protocol: 'GRPC', downstream, filters }),
  );
  pin(envoy.pid, OTHER_CORES);
  const files = await clientFiles(ca, join(folder, 'client'));
  const figures: Figure[] = [];
  for (const [what, path, status] of [
    ['allowed', '/v99/orders/4711', 200],
    ['denied', '/v98/orders/4711', 403],
  ] as const) {
    const loads: Load[] = [];
    for (let round = 0; round < ROUNDS; round += 1)
      loads.push(await load(`https://127.0.0.1:${envoy.port}${path}`, { ...files, pid, status }));
    const best = loads.reduce((one, other) => (other.rate > one.rate ? other : one));
    const perCore = 1e6 / Math.min(...loads.map(({ agentMicros }) => agentMicros));
    figures.push(
      {
        section: SECTION,
        what: `checks through Envoy, ${what}, agent on one core`,
        unit: '/s',
        countersign: best.rate,
        target: { atLeast: 3_500 },
        note: `median ${best.p50Ms.toFixed(2)} ms, 99th percentile ${best.p99Ms.toFixed(2)} ms, 16 callers`,
      },
      { section: SECTION, what: `what the agent's core is good for, ${what}`, unit: '/s', countersign: perCore },
    );
  }
  return figures;
}

interface ClientFiles {
  readonly cert: string;
  readonly key: string;
}

/** The last client that the rules name, with a certificate that the CA has signed. */
async function clientFiles(ca: Server, folder: string): Promise<ClientFiles> {
  await mkdir(folder, { recursive: true });
  const key = createTestKey();
  using admin = adminOf(ca);
  const { svid } = await admin.client(SVID).mintX509SVID({ csr: createTestCsr({ key, uris: [client(99)] }) });
  const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  await writeFile(files.cert, (svid?.certChain ?? []).map((der) => encodePem('CERTIFICATE', der)).join(''));
  await writeFile(files.key, key.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  return files;
}

async function load(
  url: string,
  { cert, key, pid, status }: ClientFiles & { readonly pid: number; readonly status: number },
): Promise<Load> {
  const program = await goProgram('httpload');
  const run = async (...times: readonly string[]): Promise<Load> => {
    const args = ['-c', OTHER_CORES, program, '-url', url, '-cert', cert, '-key', key, ...times];
    const { code, stdout, stderr } = await runToEnd('taskset', args);
    if (code !== 0) throw new Error(`httpload: ${stderr}`);
    // The cast is sound: the program writes exactly this.
    const told = JSON.parse(stdout) as Load & { readonly statuses: Readonly<Record<string, number>>; readonly errors: number };
    if (told.errors > 0 || Object.keys(told.statuses).join() !== `${status}`)
      throw new Error(`not all were ${status}: ${stdout}`);
    return told;
  };
  await run('-warm-up', '1s', '-duration', '10ms');
  const before = cpuSeconds(pid);
  const told = await run('-warm-up', '1ms', '-duration', '3s');
  return { ...told, agentMicros: ((cpuSeconds(pid) - before) / told.requests) * 1e6 };
}

/** Processor time of a process until now. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
