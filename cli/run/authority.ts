import { LocalAuthority, type AuthorityState } from '../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import type { Client } from '@connectrpc/connect';

import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { parseWireBundle } from '../../runtime/bundle-conversion.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import { parseCertificate } from '../../spiffe/certificate.ts';
import { connectCa } from '../ca-connection.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';
import { formatSeconds, printRows, type Row } from '../output.ts';

type AuthorityClient = Client<typeof LocalAuthority>;
type Step = 'prepare' | 'activate' | 'taint' | 'revoke';

interface States {
  readonly active?: AuthorityState | undefined;
  readonly prepared?: AuthorityState | undefined;
  readonly old?: AuthorityState | undefined;
}

/** The RPCs of one kind of authority under one set of names. */
interface KindClient {
  show(): Promise<States>;
  prepare(): Promise<AuthorityState | undefined>;
  activate(authorityId: string): Promise<AuthorityState | undefined>;
  taint(authorityId: string): Promise<AuthorityState | undefined>;
  revoke(authorityId: string): Promise<AuthorityState | undefined>;
}

const KINDS: Readonly<Record<string, (client: AuthorityClient) => KindClient>> = {
  x509: (client) => ({
    show: () => client.getX509AuthorityState({}),
    prepare: async () => (await client.prepareX509Authority({})).preparedAuthority,
    activate: async (authorityId) => (await client.activateX509Authority({ authorityId })).activatedAuthority,
    taint: async (authorityId) => (await client.taintX509Authority({ authorityId })).taintedAuthority,
    revoke: async (authorityId) => (await client.revokeX509Authority({ authorityId })).revokedAuthority,
  }),
  jwt: (client) => ({
    show: () => client.getJWTAuthorityState({}),
    prepare: async () => (await client.prepareJWTAuthority({})).preparedAuthority,
    activate: async (authorityId) => (await client.activateJWTAuthority({ authorityId })).activatedAuthority,
    taint: async (authorityId) => (await client.taintJWTAuthority({ authorityId })).taintedAuthority,
    revoke: async (authorityId) => (await client.revokeJWTAuthority({ authorityId })).revokedAuthority,
  }),
  wit: (client) => ({
    show: () => client.getWITAuthorityState({}),
    prepare: async () => (await client.prepareWITAuthority({})).preparedAuthority,
    activate: async (authorityId) => (await client.activateWITAuthority({ authorityId })).activatedAuthority,
    taint: async (authorityId) => (await client.taintWITAuthority({ authorityId })).taintedAuthority,
    revoke: async (authorityId) => (await client.revokeWITAuthority({ authorityId })).revokedAuthority,
  }),
};

/** `countersign authority show` */
export const showAuthorities: CommandRun = async (invocation) => {
  const kinds = invocation.text('kind') === undefined ? Object.keys(KINDS) : [invocation.requiredText('kind')];
  using connection = await connectCa(invocation);
  const client = connection.client(LocalAuthority);
  const tainted = taintedIds(parseWireBundle(await connection.client(BundleService).getBundle({})));
  const rows: Row[] = [];
  for (const kind of kinds) {
    const states = await kindClient(invocation, kind, client).show();
    rows.push(
      ...rowOf(kind, 'active', states.active),
      ...rowOf(kind, 'prepared', states.prepared),
      ...rowOf(kind, tainted.has(states.old?.authorityId ?? '') ? 'tainted' : 'old', states.old),
    );
  }
  await printRows(invocation, rows);
  return 0;
};

/** `countersign authority prepare|activate|taint|revoke` */
export function changeAuthority(step: Step): CommandRun {
  return async (invocation) => {
    const kind = invocation.requiredText('kind');
    using connection = await connectCa(invocation);
    const client = kindClient(invocation, kind, connection.client(LocalAuthority));
    const state = step === 'prepare' ? await client.prepare() : await client[step](invocation.requiredText('authority-id'));
    const became = { prepare: 'prepared', activate: 'active', taint: 'tainted', revoke: 'revoked' }[step];
    await printRows(invocation, rowOf(kind, became, state));
    return 0;
  };
}

/** The IDs of the authorities that the bundle declares unsafe: the states on the wire do not say it. */
function taintedIds({ x509Authorities, jwtAuthorities, witAuthorities }: Bundle): ReadonlySet<string> {
  const keys = [...jwtAuthorities.values(), ...witAuthorities.values()].filter(({ tainted }) => tainted);
  const certificates = x509Authorities.filter(({ tainted }) => tainted).map(({ der }) => parseCertificate(der, 'authority'));
  return new Set([
    ...keys.map(({ keyId }) => keyId),
    ...certificates.map(({ subjectKeyId }) => Buffer.from(subjectKeyId ?? []).toString('hex')),
  ]);
}

function kindClient(invocation: Invocation, kind: string, client: AuthorityClient): KindClient {
  const make = KINDS[kind];
  if (make === undefined) throw usage(invocation.command, `--kind ${kind} is unknown; use ${Object.keys(KINDS).join(', ')}`);
  return make(client);
}

function rowOf(kind: string, state: string, authority: AuthorityState | undefined): Row[] {
  if (authority === undefined || authority.authorityId === '') return [];
  return [{ kind, state, authorityId: authority.authorityId, expiresAt: formatSeconds(authority.expiresAt) }];
}
