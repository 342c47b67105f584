import { Backoff } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { Current, changesOf, type Source } from '../../core/current.ts';
import type { Logger } from '../../runtime/log.ts';
import type { KubeClient } from '../../runtime/kubernetes/client.ts';
import { isRecord } from '../../runtime/kubernetes/errors.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { VALIDATING_WEBHOOK_CONFIGURATIONS } from '../../runtime/kubernetes/resource-types.ts';
import { watchResource } from '../../runtime/kubernetes/watch.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import { encodePem } from '../../spiffe/pem.ts';

/** What {@link CaBundleKeeper} needs. */
export interface CaBundleKeeperOptions {
  readonly client: KubeClient;
  /** Of the own trust domain: what the webhook server's certificate is verified by. */
  readonly bundle: Source<Bundle>;
  /** Name of the ValidatingWebhookConfiguration. */
  readonly name: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What is kept of the configuration: its webhooks' names and the bundle of each. */
interface Configuration {
  readonly webhooks: readonly { readonly name: string; readonly caBundle: string }[];
}

/** From which it follows what is to be written. */
interface State {
  readonly configuration: Configuration | undefined;
  readonly bundle: Bundle;
}

/**
 * Keeps `caBundle` of our ValidatingWebhookConfiguration what the CA's bundle says, so that the API server trusts the webhook
 * server before, during and after each rotation: a new authority is in the bundle long before it signs. Somebody else's change
 * of it, such as by applying the manifests again, is undone. A configuration that is not there is waited for.
 *
 * One replica writes at a time (run it while leading): two replicas that hear of a new authority one after the other would undo
 * each other's change.
 */
export class CaBundleKeeper {
  readonly #options: CaBundleKeeperOptions;

  constructor(options: CaBundleKeeperOptions) {
    this.#options = options;
  }

  /** Works until the signal aborts; then it returns. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, bundle, name, clock, log } = this.#options;
    const state = new Current<State>({ configuration: undefined, bundle: bundle.value });
    const found = (configuration: Configuration | undefined): void => state.set({ ...state.value, configuration });
    const watch = watchResource({
      client,
      type: VALIDATING_WEBHOOK_CONFIGURATIONS,
      fieldSelector: `metadata.name=${name}`,
      trim: configurationOf,
      handler: { put: found, remove: () => found(undefined), synced: () => {} },
      clock,
      log,
      signal,
    });
    const unsubscribe = bundle.subscribe((next) => state.set({ ...state.value, bundle: next }));
    const backoff = new Backoff({ initialMs: 500, maxMs: 30_000 });
    try {
      for await (const wanted of changesOf(state, signal)) {
        if (await this.#write(wanted, signal)) backoff.reset();
        else clock.setTimer(backoff.nextMs(), () => state.set({ ...state.value }));
      }
    } finally {
      unsubscribe();
      await watch.ended;
    }
  }

  /** Whether the configuration is, or will be when the watch tells of it, as the bundle says. */
  async #write({ configuration, bundle }: State, signal: AbortSignal): Promise<boolean> {
    const { client, name, log } = this.#options;
    const patch = patchFor(configuration, caBundleOf(bundle));
    if (patch.length === 0) return true;
    try {
      await client.patch(VALIDATING_WEBHOOK_CONFIGURATIONS, { name }, patch, { kind: 'json', signal });
      log.info({ configuration: name, authorities: bundle.x509Authorities.length }, 'webhook trust bundle written');
      return true;
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error, configuration: name }, 'webhook trust bundle could not be written');
      return false;
    }
  }
}

/** The authorities as the API server takes them: base64 of their PEM. */
function caBundleOf({ x509Authorities }: Bundle): string {
  const pem = x509Authorities.map(({ certificate }) => encodePem('CERTIFICATE', certificate.raw)).join('');
  return Buffer.from(pem).toString('base64');
}

/**
 * A JSON patch that sets what differs. It tests each webhook's name, because a list in a patch is told by position; a bundle
 * without authorities is no reason to take the present ones away.
 */
function patchFor(configuration: Configuration | undefined, caBundle: string): readonly Record<string, unknown>[] {
  if (caBundle === '') return [];
  return (configuration?.webhooks ?? []).flatMap((webhook, index) =>
    webhook.caBundle === caBundle
      ? []
      : [
          { op: 'test', path: `/webhooks/${index}/name`, value: webhook.name },
          { op: 'add', path: `/webhooks/${index}/clientConfig/caBundle`, value: caBundle },
        ],
  );
}

function configurationOf(object: KubeObject): Configuration {
  const webhooks = Array.isArray(object['webhooks']) ? object['webhooks'] : [];
  return {
    webhooks: webhooks.map((webhook) => ({
      name: textIn(webhook, 'name'),
      caBundle: textIn(clientConfigOf(webhook), 'caBundle'),
    })),
  };
}

function clientConfigOf(webhook: unknown): unknown {
  return isRecord(webhook) ? webhook['clientConfig'] : undefined;
}

function textIn(value: unknown, field: string): string {
  const text = isRecord(value) ? value[field] : undefined;
  return typeof text === 'string' ? text : '';
}
