import type { Clock } from '../../core/clock.ts';
import type { SpiffeWorkloadAPI } from '../../proto/gen/spiffe/workload/workload_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { IdentityCache } from '../cache/identity-cache.ts';
import type { JwtSvidCache } from '../cache/jwt-svid-cache.ts';
import type { SelectorSet } from '../cache/selectors.ts';
import type { WitSvidCache } from '../cache/wit-svid-cache.ts';
import type { Workload } from '../workload-attest/attestation.ts';
import { checkJwtSvidRequest, jwtBundles, JwtSvidAnswers } from './jwt-profile.ts';
import { checkValidateRequest, JwtValidation } from './jwt-validation.ts';
import { ViewStream, type Projection } from './view-stream.ts';
import { notReady, requireSecurityHeader, whenAttested, type WorkloadCall } from './workload-call.ts';
import { checkWitSvidRequest, witBundles, witSvids as witSvidStream } from './wit-profile.ts';
import { x509Bundles, x509Svids } from './x509-profile.ts';

/** What the Workload API serves from. */
export interface WorkloadApiOptions {
  readonly cache: IdentityCache;
  readonly jwtSvids: JwtSvidCache;
  readonly witSvids: WitSvidCache;
  readonly clock: Clock;
}

/** The SPIFFE Workload API: X.509, JWT and WIT profiles (Workload API §5, §6, §7). */
export function workloadApi({
  cache,
  jwtSvids,
  witSvids,
  clock,
}: WorkloadApiOptions): ServiceHandlers<typeof SpiffeWorkloadAPI, Workload> {
  const answers = new JwtSvidAnswers(jwtSvids, clock);
  const validation = new JwtValidation(clock);

  // Every RPC: header, what can be told of the request alone, readiness, then who is calling.
  const serve = <T>(call: WorkloadCall, next: (selectors: SelectorSet) => T | Promise<T>): T | Promise<T> => {
    requireSecurityHeader(call);
    if (!cache.ready) throw notReady();
    return whenAttested(call, next);
  };
  const bundleStream = (call: WorkloadCall, projection: Projection): ViewStream | Promise<ViewStream> =>
    serve(call, (selectors) => ViewStream.open(cache.entitlementsOf(selectors), projection, call));

  return {
    fetchX509SVID: (_request, call) =>
      serve(call, (selectors) => ViewStream.open(cache.identitiesFor(selectors), x509Svids, call)),
    fetchX509Bundles: (_request, call) => bundleStream(call, x509Bundles),
    fetchJWTBundles: (_request, call) => bundleStream(call, jwtBundles),

    fetchJWTSVID(request, call) {
      requireSecurityHeader(call);
      checkJwtSvidRequest(request);
      return serve(call, (selectors) => answers.answer(cache.entitlementsOf(selectors).value, request));
    },

    validateJWTSVID(request, call) {
      requireSecurityHeader(call);
      checkValidateRequest(request);
      return serve(call, (selectors) => validation.validate(cache.entitlementsOf(selectors).value, request));
    },

    fetchWITSVID(request, call) {
      requireSecurityHeader(call);
      checkWitSvidRequest(request);
      return serve(call, (selectors) =>
        witSvidStream(request, { view: cache.entitlementsOf(selectors), cache: witSvids, clock, call }),
      );
    },
    fetchWITBundles: (_request, call) => bundleStream(call, witBundles),
  };
}
