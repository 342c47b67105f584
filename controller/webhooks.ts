import { startAdmission } from './admission/admission-server.ts';
import { createPolicyReviewers } from './admission/review-policy.ts';
import { createReviewers } from './admission/reviewers.ts';
import type { Assembly } from './assembly.ts';
import type { Connected } from './connected.ts';
import { Turns } from './turns.ts';

/** How long the CA may take to say what becomes of recorded calls: less than a review. */
const SIMULATION_MS = 2_800;

/**
 * Serves the webhooks, where they are configured. Every replica judges, whoever leads.
 *
 * @returns their port; undefined when they are not configured
 */
export async function serveWebhooks(
  { config, clock, log, metrics }: Assembly,
  { parts, session, cluster }: Connected,
  resources: AsyncDisposableStack,
): Promise<number | undefined> {
  const { webhook: address } = config.listen;
  if (config.admission === undefined || address === undefined || cluster === undefined) return undefined;
  const { settings, preview, index, federation, policies } = parts;
  const turns = new Turns(clock);
  const reviewers = createReviewers({
    settings,
    preview,
    turns,
    // It is served only when everything has been read.
    synced: () => true,
    rivalryOf: (claim) => index.rivalryOf(claim),
    holderOf: (entryKey) => index.desired(entryKey)?.declarer,
    federationOf: (trustDomain) => federation.desired(trustDomain)?.precedence,
  });
  const policyReviewers = createPolicyReviewers({
    ...policies,
    turns,
    simulate: (change, signal) => policies.client.simulate(change, { signal, timeoutMs: SIMULATION_MS }),
  });
  const admission = await startAdmission({
    address,
    credentials: session.credentials,
    reviewers: { ...reviewers, ...policyReviewers },
    clock,
    log: log.child({ component: 'admission' }),
    metrics: metrics.admission,
  });
  return resources.use(admission).port;
}
