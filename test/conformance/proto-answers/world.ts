// The state that the probes of `probes.ts` start from, made through the public API alone, so that it is the same on every
// server that speaks it.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SpireClient } from '../../support/spire-client.ts';
import type { JsonMessage } from '../../support/spire-client.ts';

/** As whom a probe calls. `workload` has a plain SVID, `agent` attested with a join token, `banned` did and was banned. */
export type CallerName = 'local' | 'anonymous' | 'workload' | 'agent' | 'admin' | 'downstream' | 'banned';

/** A server that is running, and a folder for this module's files. */
export interface ServerUnderTest {
  /** The admin API, `unix:/path`. */
  readonly admin: string;
  /** `host:port` of the TLS listener. */
  readonly address: string;
  readonly folder: string;
}

/** Everything that probes refer to. */
export interface World extends AsyncDisposable {
  readonly callers: Readonly<Record<CallerName, SpireClient>>;
  /** Path of the attested agent's SPIFFE ID. */
  readonly agentPath: string;
  /** PKCS#10 DER in base64, by what is in it. */
  readonly csr: Readonly<Record<CsrName, string>>;
  /** The server's own first X.509 authority, DER in base64. */
  readonly authority: string;
  /** PKIX DER in base64. */
  readonly publicKey: string;
}

const trustDomain = 'example.org';

const csrSubjects = {
  plain: [],
  web: ['URI:spiffe://example.org/web'],
  withDns: ['URI:spiffe://example.org/web', 'DNS:web.example.org'],
  badDns: ['URI:spiffe://example.org/web', 'DNS:not_a..name'],
  foreign: ['URI:spiffe://other.test/web'],
  trustDomainOnly: ['URI:spiffe://example.org'],
  reserved: ['URI:spiffe://example.org/spire/agent/x'],
  notSpiffe: ['URI:https://example.org/web'],
  twoIds: ['URI:spiffe://example.org/web', 'URI:spiffe://example.org/api'],
} as const;

/** Names of the prepared certificate requests. */
export type CsrName = keyof typeof csrSubjects | 'rsa1024' | 'tampered' | 'garbage';

/** An ID of the trust domain as the API writes it. */
export function id(path: string): JsonMessage {
  return { trustDomain, path };
}

/** Prepares callers, entries and a federated bundle. */
export async function createWorld(server: ServerUnderTest): Promise<World> {
  const openssl = new Openssl(server.folder);
  const local = await SpireClient.connect({ address: server.admin });
  const bundle = await ask(local, 'bundle.v1.Bundle/GetBundle', {});
  // Field of spire.api.types.Bundle.
  const authorities = bundle['x509Authorities'] as { asn1: string }[];
  const bundleFile = join(server.folder, 'bundle.pem');
  writeFileSync(bundleFile, authorities.map(({ asn1 }) => pem(asn1)).join(''));
  const anonymous = await SpireClient.connect({ address: server.address, bundleFile });
  const csr = openssl.requests();

  const agent = await attest({ local, anonymous, openssl, name: 'agent' });
  const banned = await attest({ local, anonymous, openssl, name: 'banned' });
  await createEntries(local, agent.path);
  const connect = (files: SvidFiles): Promise<SpireClient> =>
    SpireClient.connect({ address: server.address, bundleFile, ...files });
  const callers = {
    local,
    anonymous,
    agent: await connect(agent),
    banned: await connect(banned),
    workload: await connect(await mint(local, openssl, 'workload')),
    admin: await connect(await mint(local, openssl, 'admin')),
    downstream: await connect(await mint(local, openssl, 'downstream')),
  };
  await ask(local, 'agent.v1.Agent/BanAgent', { id: id(banned.path) });
  await untilAuthorized(callers.agent);
  return {
    callers,
    agentPath: agent.path,
    csr,
    authority: authorities[0]?.asn1 ?? '',
    publicKey: openssl.publicKey(),
    async [Symbol.asyncDispose]() {
      await Promise.all(Object.values(callers).map(async (caller) => caller[Symbol.asyncDispose]()));
    },
  };
}

interface SvidFiles {
  readonly svidFile: string;
  readonly keyFile: string;
}

interface Attestation {
  readonly local: SpireClient;
  readonly anonymous: SpireClient;
  readonly openssl: Openssl;
  readonly name: string;
}

async function attest({ local, anonymous, openssl, name }: Attestation): Promise<SvidFiles & { path: string }> {
  const { value } = await ask(local, 'agent.v1.Agent/CreateJoinToken', { ttl: 600 });
  const { keyFile, csr } = openssl.request(name, []);
  const data = { type: 'join_token', payload: Buffer.from(String(value)).toString('base64') };
  const answer = await ask(anonymous, 'agent.v1.Agent/AttestAgent', { params: { data, params: { csr } } });
  // Fields of AttestAgentResponse.
  const { svid } = answer['result'] as { svid: { id: { path: string }; certChain: string[] } };
  return { svidFile: openssl.write(`${name}.pem`, svid.certChain.map(pem).join('')), keyFile, path: svid.id.path };
}

/** An SVID of `/<name>`. */
async function mint(local: SpireClient, openssl: Openssl, name: string): Promise<SvidFiles> {
  const { keyFile, csr } = openssl.request(name, [`URI:spiffe://${trustDomain}/${name}`]);
  const answer = await ask(local, 'svid.v1.SVID/MintX509SVID', { csr });
  // Field of MintX509SVIDResponse.
  const { certChain } = answer['svid'] as { certChain: string[] };
  return { svidFile: openssl.write(`${name}.pem`, certChain.map(pem).join('')), keyFile };
}

async function createEntries(local: SpireClient, agentPath: string): Promise<void> {
  const entry = (name: string, more: JsonMessage = {}): JsonMessage => ({
    id: `probe-${name}`,
    spiffeId: id(`/${name}`),
    parentId: id(agentPath),
    selectors: [{ type: 'unix', value: `user:probe-${name}` }],
    ...more,
  });
  const entries = [
    entry('web', { dnsNames: ['web.example.org'], hint: 'internal', x509SvidTtl: 600, jwtSvidTtl: 60 }),
    entry('admin', { admin: true }),
    entry('downstream', { downstream: true }),
    { ...entry('elsewhere'), parentId: id('/spire/agent/join_token/another') },
  ];
  const { results } = await ask(local, 'entry.v1.Entry/BatchCreateEntry', { entries });
  // Field of BatchCreateEntryResponse; the code is left out when it is 0.
  const failed = (results as { status: { code?: number } }[]).filter(({ status }) => status.code !== undefined);
  if (failed.length > 0) throw new Error(`entries could not be made: ${JSON.stringify(failed)}`);
}

/** A server may take some seconds to let an agent have new entries. */
async function untilAuthorized(agent: SpireClient): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt++) {
    const { entries = [] } = await ask(agent, 'entry.v1.Entry/GetAuthorizedEntries', {});
    // Field of GetAuthorizedEntriesResponse.
    if ((entries as unknown[]).length === 3) return;
    await delay(100);
  }
  throw new Error('the agent does not get its three entries');
}

async function ask(client: SpireClient, method: string, request: JsonMessage): Promise<JsonMessage> {
  const result = await client.call(`spire.api.server.${method}`, request);
  const [message] = result.messages;
  if (result.code !== 'OK') throw new Error(`${method}: ${result.code} ${result.message}`);
  return message ?? {};
}

function pem(base64: string): string {
  return `-----BEGIN CERTIFICATE-----\n${base64.replaceAll(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`;
}

/** Keys and certificate requests from outside this project. */
class Openssl {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  write(name: string, text: string): string {
    const path = join(this.#folder, name);
    writeFileSync(path, text);
    return path;
  }

  request(name: string, names: readonly string[], algorithm = 'EC'): { keyFile: string; csr: string } {
    const keyFile = join(this.#folder, `${name}.key`);
    const parameters = algorithm === 'EC' ? ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] : [`rsa:${algorithm}`];
    const extension = names.length > 0 ? ['-addext', `subjectAltName=${names.join(',')}`] : [];
    const args = ['req', '-new', '-nodes', '-newkey', ...parameters, '-keyout', keyFile, '-subj', '/O=Probe', ...extension];
    const der = execFileSync('openssl', [...args, '-outform', 'DER'], { stdio: ['ignore', 'pipe', 'ignore'] });
    return { keyFile, csr: der.toString('base64') };
  }

  requests(): Record<CsrName, string> {
    const made = Object.entries(csrSubjects).map(([name, names]) => [name, this.request(`csr-${name}`, names).csr]);
    const tampered = Buffer.from(this.request('csr-tampered', csrSubjects.web).csr, 'base64');
    tampered[tampered.length - 1] = (tampered.at(-1) ?? 0) ^ 1; // the signature's last byte
    // The keys are those of csrSubjects, and the three beside them follow.
    return {
      ...(Object.fromEntries(made) as Record<keyof typeof csrSubjects, string>),
      rsa1024: this.request('csr-rsa1024', csrSubjects.web, '1024').csr,
      tampered: tampered.toString('base64'),
      garbage: Buffer.from('not a request').toString('base64'),
    };
  }

  publicKey(): string {
    const { keyFile } = this.request('bound', []);
    const file = join(this.#folder, 'bound.der');
    execFileSync('openssl', ['pkey', '-in', keyFile, '-pubout', '-outform', 'DER', '-out', file]);
    return readFileSync(file).toString('base64');
  }
}
