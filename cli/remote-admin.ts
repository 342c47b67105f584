import { WorkloadApi } from '../client/workload-api.ts';
import type { X509Context } from '../client/x509-context.ts';
import { systemClock } from '../core/clock.ts';
import { IdentityError } from '../core/errors.ts';
import type { ListenAddress } from '../runtime/config-file.ts';
import { connectGrpc, type ClientTls, type GrpcConnection } from '../runtime/grpc-client.ts';
import { encodePem } from '../spiffe/certificate.ts';
import { verifyX509Svid } from '../spiffe/x509-svid.ts';
import type { Invocation } from './command.ts';
import { workloadAddress } from './workload-address.ts';

/** The path of the SPIFFE ID that a CA serves with, as SPIRE's servers do. */
const SERVER_PATH = '/spire/server';

/**
 * Connects to a CA over mTLS with the caller's own default SVID from its agent. The CA lets in those whose entry is `admin`
 * and those that its `admins` list names.
 *
 * @throws IdentityError of the Workload API when it gives no SVID
 */
export async function connectAsAdmin(invocation: Invocation, target: ListenAddress): Promise<GrpcConnection> {
  using api = new WorkloadApi({ address: workloadAddress(invocation) });
  const context = await api.fetchX509Context();
  return connectGrpc({ target, clock: systemClock, tls: adminTls(context) });
}

function adminTls({ svids: [svid], bundles }: X509Context): ClientTls {
  const { trustDomain } = svid.id;
  return {
    identity: () => ({
      certificatePem: svid.chain.map(({ raw }) => encodePem('CERTIFICATE', raw)).join(''),
      privateKeyPem: svid.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    }),
    verifyServer: (chain) => {
      const { id } = verifyX509Svid(chain, bundles, systemClock.nowMs());
      if (id.trustDomain.equals(trustDomain) && id.path === SERVER_PATH) return;
      throw new IdentityError(
        'unauthenticated',
        `the server is ${id.toString()}, expected spiffe://${trustDomain.name}${SERVER_PATH}; is this the CA's address?`,
      );
    },
  };
}
