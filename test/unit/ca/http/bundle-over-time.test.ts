import { X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { Bundle } from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { LocalAuthority } from '../../../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { RunningCa } from '../../../support/running-ca.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** The subject key IDs of the published X.509 authorities. */
async function published(ca: RunningCa): Promise<readonly string[]> {
  const { x509Authorities } = await ca.local(Bundle).getBundle({});
  return x509Authorities.map(({ asn1 }) => new X509Certificate(Buffer.from(asn1)).serialNumber);
}

async function stateOf(ca: RunningCa): Promise<{ readonly active: string; readonly prepared: string }> {
  const { active, prepared } = await ca.local(LocalAuthority).getX509AuthorityState({});
  return { active: active?.authorityId ?? '', prepared: prepared?.authorityId ?? '' };
}

test('[SPIFFE Federation §4.1] a new key is published long before it signs, and an old one leaves when it has ended', async () => {
  const clock = new ManualClock();
  await using ca = await RunningCa.start({ clock, yaml: 'ttl: { ca: 6h }' });
  const [first = ''] = await published(ca);
  const { active } = await stateOf(ca);
  // The CA looks at the clock once a minute, and sets its next timer only after it has looked.
  const later = <T>(ask: () => Promise<T>) => {
    clock.advance(MINUTE_MS);
    return ask();
  };
  clock.advance(3 * HOUR_MS);
  await expect.poll(() => later(() => published(ca))).toHaveLength(2);
  const { prepared } = await stateOf(ca);
  expect(await stateOf(ca)).toMatchObject({ active });
  clock.advance(2 * HOUR_MS);
  await expect.poll(() => later(() => stateOf(ca))).toMatchObject({ active: prepared });
  expect(await published(ca)).toContain(first);
  // What the first one signed ended with it, a day and more ago.
  clock.advance(26 * HOUR_MS);
  const inAnHour = (): Promise<readonly string[]> => {
    clock.advance(HOUR_MS);
    return published(ca);
  };
  await expect.poll(inAnHour).not.toContain(first);
});

test('[X509-SVID §6.1] the published certificate is self-signed unless there is an upstream root', async () => {
  await using ca = await RunningCa.start();
  const { x509Authorities } = await ca.local(Bundle).getBundle({});
  const certificate = new X509Certificate(Buffer.from(x509Authorities[0]?.asn1 ?? []));
  expect(certificate.verify(certificate.publicKey)).toBe(true);
});
