import type { JsonMessage } from '../../support/spire-client.ts';
import { group, withBadIds } from './probe.ts';
import type { Probe } from './probe.ts';
import { id } from './world.ts';
import type { World } from './world.ts';

/** Signing. */
export function svidProbes({ csr, publicKey }: World): Probe[] {
  const csrs = (make: (value: string) => JsonMessage): Record<string, JsonMessage> =>
    Object.fromEntries(Object.entries(csr).map(([name, value]) => [`a request: ${name}`, make(value)]));
  return [
    ...group({
      as: 'local',
      method: 'svid.v1.SVID/MintX509SVID',
      requests: {
        ...csrs((value) => ({ csr: value })),
        'a negative lifetime': { csr: csr.web, ttl: -1 },
        'a lifetime of ten years': { csr: csr.web, ttl: 315_360_000 },
      },
    }),
    ...group({
      as: 'local',
      method: 'svid.v1.SVID/MintJWTSVID',
      requests: {
        ...withBadIds((value) => ({ id: value, audience: ['a'] })),
        'an ID': { id: id('/web'), audience: ['a'] },
        'no audience': { id: id('/web') },
        'an empty audience': { id: id('/web'), audience: [''] },
        'an empty audience among others': { id: id('/web'), audience: ['', 'b'] },
        'a reserved ID': { id: id('/spire/agent/x'), audience: ['a'] },
        'a negative lifetime': { id: id('/web'), audience: ['a'], ttl: -1 },
      },
    }),
    ...group({
      as: 'local',
      method: 'svid.v1.SVID/MintWITSVID',
      requests: {
        ...withBadIds((value) => ({ id: value, publicKey, signingAlgorithm: 'ES256' })),
        'an ID': { id: id('/web'), publicKey, signingAlgorithm: 'ES256' },
        'no key': { id: id('/web'), signingAlgorithm: 'ES256' },
        'a key that is not one': { id: id('/web'), publicKey: 'eA==', signingAlgorithm: 'ES256' },
        'no algorithm': { id: id('/web'), publicKey },
        'an unknown algorithm': { id: id('/web'), publicKey, signingAlgorithm: 'XX' },
        'an algorithm of another key type': { id: id('/web'), publicKey, signingAlgorithm: 'RS256' },
        'a symmetric algorithm': { id: id('/web'), publicKey, signingAlgorithm: 'HS256' },
      },
    }),
    ...group({
      as: 'agent',
      method: 'svid.v1.SVID/BatchNewX509SVID',
      requests: {
        ...csrs((value) => ({ params: [{ entryId: 'probe-web', csr: value }] })),
        'an empty item': { params: [{}] },
        'no request': { params: [{ entryId: 'probe-web' }] },
        'an unknown entry': { params: [{ entryId: 'none', csr: csr.plain }] },
        'an entry that is not authorized': { params: [{ entryId: 'probe-elsewhere', csr: csr.plain }] },
        'one good and one bad': {
          params: [
            { entryId: 'probe-web', csr: csr.plain },
            { entryId: 'none', csr: csr.plain },
          ],
        },
      },
    }),
    ...group({
      as: 'agent',
      method: 'svid.v1.SVID/NewJWTSVID',
      requests: {
        'an entry': { entryId: 'probe-web', audience: ['a'] },
        'no audience': { entryId: 'probe-web' },
        'an empty audience': { entryId: 'probe-web', audience: [''] },
        'no entry': { audience: ['a'] },
        'an unknown entry': { entryId: 'none', audience: ['a'] },
        'an entry that is not authorized': { entryId: 'probe-elsewhere', audience: ['a'] },
      },
    }),
    ...group({
      as: 'agent',
      method: 'svid.v1.SVID/BatchNewWITSVID',
      requests: {
        'an entry': { params: [{ entryId: 'probe-web', publicKey, signingAlgorithm: 'ES256' }] },
        'no algorithm': { params: [{ entryId: 'probe-web', publicKey }] },
        'no key': { params: [{ entryId: 'probe-web', signingAlgorithm: 'ES256' }] },
        'an unknown entry': { params: [{ entryId: 'none', publicKey, signingAlgorithm: 'ES256' }] },
        'an empty item': { params: [{}] },
      },
    }),
    ...group({
      as: 'downstream',
      method: 'svid.v1.SVID/NewDownstreamX509CA',
      requests: {
        'a plain request': { csr: csr.plain },
        'the trust domain': { csr: csr.trustDomainOnly },
        'a path': { csr: csr.web },
        'a foreign trust domain': { csr: csr.foreign },
        'a forged request': { csr: csr.tampered },
        'a request that is not one': { csr: csr.garbage },
        'a lifetime': { csr: csr.trustDomainOnly, preferredTtl: 60 },
      },
    }),
  ];
}
