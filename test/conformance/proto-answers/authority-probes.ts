import type { JsonMessage } from '../../support/spire-client.ts';
import { group } from './probe.ts';
import type { Probe } from './probe.ts';

/** Authorities by IDs that are not there, before and after one is prepared. */
export function authorityProbes(): Probe[] {
  const unknown: Record<string, JsonMessage> = { 'an unknown authority': { authorityId: 'none' } };
  const kinds = ['JWT', 'X509', 'WIT'].flatMap((kind) => {
    const method = (name: string): string => `localauthority.v1.LocalAuthority/${name}${kind}Authority`;
    return [
      ...['Activate', 'Taint', 'Revoke'].flatMap((name) => group({ as: 'local', method: method(name), requests: unknown })),
      ...group({ as: 'local', method: method('Prepare'), requests: { 'the next authority': {}, 'once more': {} } }),
      ...['Activate', 'Taint', 'Revoke'].flatMap((name) =>
        group({
          as: 'local',
          method: method(name),
          requests: { 'an unknown authority beside a prepared one': { authorityId: 'none' } },
        }),
      ),
    ];
  });
  const upstream = ['TaintX509UpstreamAuthority', 'RevokeX509UpstreamAuthority'].flatMap((name) =>
    group({
      as: 'local',
      method: `localauthority.v1.LocalAuthority/${name}`,
      requests: { 'an unknown authority': { subjectKeyId: '00' } },
    }),
  );
  return [
    ...kinds,
    ...upstream,
    ...group({
      as: 'local',
      method: 'logger.v1.Logger/SetLogLevel',
      requests: { 'a level': { newLevel: 'DEBUG' }, 'an unknown level': { newLevel: 42 } },
    }),
  ];
}
