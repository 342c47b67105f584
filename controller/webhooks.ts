import { startAdmission } from './admission/admission-server.ts';
import { createReviewers } from './admission/reviewers.ts';
import type { Assembly } from './assembly.ts';
import type { Connected } from './connected.ts';
import { Turns } from './turns.ts';

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
  const { settings, preview, index, federation } = parts;
  const reviewers = createReviewers({
    settings,
    preview,
    turns: new Turns(clock),
    // It is served only when everything has been read.
    synced: () => true,
    rivalryOf: (claim) => index.rivalryOf(claim),
    holderOf: (entryKey) => index.desired(entryKey)?.declarer,
    federationOf: (trustDomain) => federation.desired(trustDomain)?.precedence,
  });
  const admission = await startAdmission({
    address,
    credentials: session.credentials,
    reviewers,
    clock,
    log: log.child({ component: 'admission' }),
    metrics: metrics.admission,
  });
  return resources.use(admission).port;
}
