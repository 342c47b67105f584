import type { Answer } from './answer.ts';

/** What this project answers instead, and why. */
export interface Deviation {
  readonly answer: Partial<Answer>;
  readonly reason: string;
}

const batch = (items: readonly number[]): Partial<Answer> => ({ items, fields: ['results[].status.code'] });

const invalid = (reason: string): Deviation => ({ answer: { code: 'INVALID_ARGUMENT', fields: [] }, reason });

const invalidItem = (reason: string): Deviation => ({ answer: batch([3]), reason });

const badPageToken = invalid('the fault is the caller’s, so it is no internal error');

const noWit = 'the published implementation has no WIT authorities yet';

const dnsName = 'no DNS name in the preferred syntax that a certificate needs (RFC 5280, section 4.2.1.6)';

const emptyCertificate = invalidItem(
  'an authority without a certificate is a fault of the caller; dropping it silently would hide it',
);

const refreshHint = invalidItem('a negative refresh hint means nothing');

const witAuthorities = Object.fromEntries(
  ['Activate', 'Taint', 'Revoke'].flatMap((verb) =>
    ['as local', 'as admin', 'an unknown authority', 'an unknown authority beside a prepared one'].map((probe) => [
      `localauthority.v1.LocalAuthority/${verb}WITAuthority: ${probe}`,
      invalid(noWit),
    ]),
  ),
);

const authorityState = (fields: readonly string[]): Deviation => ({ answer: { code: 'OK', fields }, reason: noWit });

const banned: Deviation = {
  answer: {
    code: 'PERMISSION_DENIED',
    details: [{ '@type': 'type.googleapis.com/spire.api.types.PermissionDeniedDetails', reason: 'AGENT_BANNED' }],
    fields: [],
  },
  reason: 'a banned agent is served nothing, not even what anyone may have',
};

/** By `<method>: <probe>`. */
export const deviations: Readonly<Record<string, Deviation>> = {
  ...witAuthorities,
  'localauthority.v1.LocalAuthority/GetWITAuthorityState: as local': authorityState(['active.authorityId', 'active.expiresAt']),
  'localauthority.v1.LocalAuthority/GetWITAuthorityState: as admin': authorityState(['active.authorityId', 'active.expiresAt']),
  'localauthority.v1.LocalAuthority/PrepareWITAuthority: the next authority': authorityState([
    'preparedAuthority.authorityId',
    'preparedAuthority.expiresAt',
  ]),
  'localauthority.v1.LocalAuthority/PrepareWITAuthority: once more': authorityState([
    'preparedAuthority.authorityId',
    'preparedAuthority.expiresAt',
  ]),
  'bundle.v1.Bundle/PublishWITAuthority: as downstream': invalid(noWit),
  'bundle.v1.Bundle/PublishWITAuthority: a key without an ID': invalid(noWit),
  'bundle.v1.Bundle/PublishWITAuthority: a key that is not one': invalid(noWit),
  'bundle.v1.Bundle/PublishWITAuthority: a key': { answer: { code: 'OK', fields: ['witAuthorities[].keyId'] }, reason: noWit },

  'agent.v1.Agent/ListAgents: a page token that is not one': badPageToken,
  'entry.v1.Entry/ListEntries: a page token that is not one': badPageToken,
  'bundle.v1.Bundle/ListFederatedBundles: a page token that is not one': badPageToken,
  'trustdomain.v1.TrustDomain/ListFederationRelationships: a page token that is not one': badPageToken,
  'agent.v1.Agent/ListAgents: by empty selectors': invalid('the fault is the caller’s; CountEntries and ListEntries say so too'),
  'agent.v1.Agent/ListAgents: by a time that is not one': invalid('a filter that cannot be read must not list every agent'),
  'agent.v1.Agent/CreateJoinToken: the same token again': {
    answer: { code: 'ALREADY_EXISTS' },
    reason: 'the fault is the caller’s, so it is no internal error',
  },
  'agent.v1.Agent/RenewAgent: a forged request': invalid('the caller must have the key that it asks an SVID for'),

  'agent.v1.Agent/AttestAgent: as banned': banned,
  'bundle.v1.Bundle/GetBundle: as banned': banned,

  'entry.v1.Entry/BatchCreateEntry: a bad DNS name': invalidItem(dnsName),
  'entry.v1.Entry/BatchCreateEntry: a negative expiry': invalidItem('a negative time means nothing'),
  'entry.v1.Entry/BatchCreateEntry: an unknown federated trust domain': {
    answer: batch([9]),
    reason: 'the state is not as the call needs it, which is no internal error',
  },
  'entry.v1.Entry/BatchUpdateEntry: an unknown federated trust domain': {
    answer: batch([9]),
    reason: 'the state is not as the call needs it, which is no internal error',
  },

  'svid.v1.SVID/MintX509SVID: a request: rsa1024': invalid('1,024-bit RSA keys are too weak to be certified'),
  'svid.v1.SVID/BatchNewX509SVID: a request: rsa1024': invalidItem('1,024-bit RSA keys are too weak to be certified'),
  'svid.v1.SVID/MintJWTSVID: an empty audience': invalid('the fault is the caller’s, so it is no internal error'),
  'svid.v1.SVID/NewJWTSVID: an empty audience': invalid('the fault is the caller’s, so it is no internal error'),

  'bundle.v1.Bundle/BatchCreateFederatedBundle: an empty certificate': emptyCertificate,
  'bundle.v1.Bundle/BatchSetFederatedBundle: an empty certificate': emptyCertificate,
  'bundle.v1.Bundle/BatchUpdateFederatedBundle: an empty certificate': emptyCertificate,
  'bundle.v1.Bundle/BatchCreateFederatedBundle: a negative refresh hint': refreshHint,
  'bundle.v1.Bundle/BatchSetFederatedBundle: a negative refresh hint': refreshHint,
  'bundle.v1.Bundle/BatchUpdateFederatedBundle: a negative refresh hint': refreshHint,

  'trustdomain.v1.TrustDomain/BatchCreateFederationRelationship: the same again': {
    answer: batch([6]),
    reason: 'the fault is the caller’s, so it is no internal error',
  },
  'trustdomain.v1.TrustDomain/BatchUpdateFederationRelationship: the own trust domain': invalidItem(
    'the fault is the caller’s; BatchCreateFederationRelationship says so too',
  ),
  'trustdomain.v1.TrustDomain/BatchUpdateFederationRelationship: an unknown one': {
    answer: batch([5]),
    reason: 'the fault is the caller’s, so it is no internal error',
  },
};
