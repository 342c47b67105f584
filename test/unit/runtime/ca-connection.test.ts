import { expect, test } from 'vitest';

import { connectToCa } from '../../../runtime/ca-connection.ts';
import { Bundle as BundleService } from '../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { toIdentityError } from '../../../runtime/grpc-client.ts';
import { Bundle, X509Authority } from '../../../spiffe/bundle.ts';
import { parsePemCertificates } from '../../../spiffe/certificate.ts';
import { parseTrustDomain } from '../../../spiffe/trust-domain.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { StandInCa } from '../../support/stand-in-ca.ts';

test.each(['with', 'without'])('names both trust domains when they differ, %s a bootstrap bundle', async (how) => {
  const clock = new ManualClock();
  await using ca = await StandInCa.start(clock);
  const trustDomain = parseTrustDomain('other.example');
  const x509Authorities = parsePemCertificates(ca.rootPem).map(({ raw }) => new X509Authority(raw));
  using connection = connectToCa({
    target: { kind: 'tcp', host: '127.0.0.1', port: ca.port },
    trustDomain,
    clock,
    bundle: () => (how === 'with' ? new Bundle({ trustDomain, x509Authorities }) : undefined),
    svid: () => undefined,
  });
  const error = await connection
    .client(BundleService)
    .getBundle({})
    .then(() => undefined, toIdentityError);
  expect(error).toMatchObject({
    code: 'unavailable',
    message: expect.stringMatching(/example\.org.*trustDomain: other\.example/),
  });
  expect(ca.calls).toEqual([]);
});
