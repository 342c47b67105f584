import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { JsonLinesProcess, runJsonLines, type JsonLine } from '../support/json-lines.ts';
import { startTestAgent, type RunningTestAgent } from '../support/running-agent.ts';
import { RunningCa } from '../support/running-ca.ts';
import { TestCa } from '../support/test-ca.ts';
import { fetchX509 } from '../support/workload.ts';
import { goProgram, isInstalled, pythonVenv } from '../support/toolchain.ts';

const uid = process.getuid?.() ?? 0;
let ca: RunningCa;
let agent: RunningTestAgent;
const foreign = TestCa.create({ trustDomain: 'foreign.org' });

const register = async (
  path: string,
  more: { readonly federatesWith?: string[]; readonly hint?: string } = {},
): Promise<string> => {
  const { results } = await ca.local(Entry).batchCreateEntry({
    entries: [
      {
        spiffeId: { trustDomain: 'example.org', path },
        parentId: { trustDomain: 'example.org', path: agent.idPath },
        selectors: [{ type: 'unix', value: `uid:${uid}` }],
        ...more,
      },
    ],
  });
  expect(results[0]?.status?.code).toBe(0);
  return results[0]?.entry?.id ?? '';
};

// The agent serves before it has heard from the CA, and says that it is not ready.
async function untilServed(): Promise<void> {
  for (;;) {
    const answer = await fetchX509(agent.socket).catch(() => undefined);
    if (answer?.svids.length === 1) return;
  }
}

beforeAll(async () => {
  ca = await RunningCa.start();
  agent = await startTestAgent(ca);
  const bundle = { trustDomain: 'foreign.org', x509Authorities: [{ asn1: foreign.root.der }] };
  await ca.local(BundleService).batchSetFederatedBundle({ bundle: [bundle] });
  await register('/web', { federatesWith: ['foreign.org'], hint: 'internal' });
  await untilServed();
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await ca[Symbol.asyncDispose]();
});

/** The one line that a program prints for a command. */
interface Client {
  readonly run: (command: string, ...more: readonly string[]) => Promise<JsonLine>;
  readonly watch: () => JsonLinesProcess;
}

const idsOf = (line: JsonLine | undefined): unknown[] =>
  // The cast is sound: both programs print lists of SVIDs with an ID.
  ((line?.['svids'] ?? []) as readonly { readonly id: string }[]).map(({ id }) => id);
const ID = 'spiffe://example.org/web';

function behavesAs(client: () => Client): void {
  test('[Workload API §5.2.1] fetches its X.509-SVID', async () => {
    expect(idsOf(await client().run('x509'))).toEqual([ID]);
  });

  test('[Workload API §5.2.2] fetches X.509 bundles, the federated one included', async () => {
    const { bundles } = await client().run('bundles');
    expect(Object.keys(bundles as object).length).toBe(2);
  });

  test('[Workload API §6.2.1, §6.2.3] fetches a JWT-SVID, which the agent validates', async () => {
    const { svids } = await client().run('jwt', 'some-audience');
    const [svid] = svids as readonly { readonly id: string; readonly token: string }[];
    expect(svid?.id).toBe(ID);
    expect(JSON.stringify(await client().run('validate', 'some-audience', svid?.token ?? ''))).toContain(ID);
  });

  test('[Workload API §6.2.2] fetches JWT bundles', async () => {
    expect(JSON.stringify(await client().run('jwtbundles'))).toContain('example.org');
  });

  test('[Workload API §4.3] sees an identity come and go on its stream', async () => {
    await using watching = client().watch();
    await watching.until((line) => idsOf(line).length === 1);
    const id = await register('/second');
    await watching.until((line) => idsOf(line).includes('spiffe://example.org/second'));
    await ca.local(Entry).batchDeleteEntry({ ids: [id] });
    await watching.until((line) => idsOf(line).length === 1);
  });
}

describe.skipIf(!isInstalled('go'))('go-spiffe (needs go)', () => {
  let program = '';
  beforeAll(async () => {
    program = await goProgram('workload');
  });
  const address = (): readonly string[] => ['-addr', `unix:${agent.socket}`];
  const run = async (...args: readonly string[]): Promise<JsonLine> => {
    const { lines, errors } = await runJsonLines(program, [...address(), ...args]);
    if (lines[0] === undefined) throw new Error(errors);
    return lines[0];
  };

  behavesAs(() => ({
    run: (command, audience = 'a', token = '') =>
      command === 'validate'
        ? run('-audience', audience, '-token', token, 'validate')
        : run('-audience', audience, 'fetch', command),
    watch: () => new JsonLinesProcess(program, [...address(), 'watch', 'x509']),
  }));

  test('[Workload API §7.2.1, §7.2.2] fetches a WIT-SVID and WIT bundles', async () => {
    expect(idsOf(await run('fetch', 'wit'))).toEqual([ID]);
    expect(JSON.stringify(await run('fetch', 'witbundles'))).toContain('example.org');
  });

  test('speaks mTLS with itself, each side verified by its SPIFFE ID', async () => {
    await using server = new JsonLinesProcess(program, [...address(), '-authorize', ID, 'serve', '127.0.0.1:0']);
    const { listening } = await server.until((line) => typeof line['listening'] === 'string');
    expect(JSON.stringify(await run('-authorize', ID, 'dial', String(listening)))).toContain(ID);
  });

  test('[Workload API §6.2.1] is refused the identity of somebody else', async () => {
    expect(await run('-audience', 'a', '-subject', 'spiffe://example.org/other', 'fetch', 'jwt')).toMatchObject({
      code: 'PermissionDenied',
    });
  });
});

describe.skipIf(!isInstalled('python3'))('py-spiffe (needs python3)', () => {
  let python = '';
  beforeAll(async () => {
    python = await pythonVenv(['spiffe==0.2.2']);
  });
  const script = join(import.meta.dirname, '../support/py_workload.py');
  const argsOf = (...more: readonly string[]): readonly string[] => [script, `unix://${agent.socket}`, ...more];

  behavesAs(() => ({
    async run(command, ...more) {
      const { lines, errors } = await runJsonLines(python, argsOf(command, ...more));
      if (lines[0] === undefined) throw new Error(errors);
      return lines[0];
    },
    watch: () => new JsonLinesProcess(python, argsOf('watch')),
  }));
});
