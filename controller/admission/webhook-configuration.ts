import { VALIDATING_WEBHOOK_CONFIGURATIONS, apiVersionOf } from '../../runtime/kubernetes/resource-types.ts';
import { REVIEWED_KINDS, reviewPath, type ReviewedKind } from './reviewed-kinds.ts';

/** Which Service the API server calls, and what the configuration is called. */
export interface WebhookConfigurationOptions {
  /** Name of the ValidatingWebhookConfiguration. */
  readonly name: string;
  readonly service: { readonly namespace: string; readonly name: string };
  readonly labels?: Readonly<Record<string, string>>;
}

/** How long the API server waits for an answer; the reviewers stop well before. */
const TIMEOUT_SECONDS = 5;

/**
 * A change of metadata or status never asks us: finalizers, labels and owner references can be written while no controller
 * runs, and what was stored before a rule existed can still be deleted.
 */
const SPEC_CHANGED = "request.operation == 'CREATE' || object.?spec != oldObject.?spec";

/** Kubernetes deletes what is in a namespace that goes, and what belongs to what went: nobody could heed a warning. */
const ASKED_FOR =
  "!(request.userInfo.username in ['system:serviceaccount:kube-system:namespace-controller', 'system:serviceaccount:kube-system:generic-garbage-collector'])";

/**
 * The ValidatingWebhookConfiguration that the manifests hold, without `caBundle`: the controller fills that in and keeps it
 * current.
 *
 * Our own kinds are refused while nobody can judge them (`failurePolicy: Fail`): nothing would act on them either, and the
 * controller itself writes only their status, which is not asked about, so it never waits for itself. SPIRE's kinds may belong
 * to another controller in the same cluster: they pass (`Ignore`), and their status says what is wrong.
 */
export function webhookConfiguration({ name, service, labels }: WebhookConfigurationOptions): Record<string, unknown> {
  return {
    apiVersion: apiVersionOf(VALIDATING_WEBHOOK_CONFIGURATIONS),
    kind: VALIDATING_WEBHOOK_CONFIGURATIONS.kind,
    metadata: { name, ...(labels === undefined ? {} : { labels }) },
    webhooks: REVIEWED_KINDS.flatMap((kind) => [
      webhook(kind, service, WRITING),
      ...(kind.judgesDeletion === true ? [webhook({ ...kind, failurePolicy: 'Ignore' }, service, DELETING)] : []),
    ]),
  };
}

/** What a webhook is asked about. */
interface Asked {
  readonly prefix: string;
  readonly operations: readonly string[];
  readonly condition: { readonly name: string; readonly expression: string };
}

const WRITING: Asked = {
  prefix: '',
  operations: ['CREATE', 'UPDATE'],
  condition: { name: 'spec-changed', expression: SPEC_CHANGED },
};
const DELETING: Asked = {
  prefix: 'deletion.',
  operations: ['DELETE'],
  condition: { name: 'asked-for', expression: ASKED_FOR },
};

type Service = WebhookConfigurationOptions['service'];

function webhook(kind: ReviewedKind, service: Service, { prefix, operations, condition }: Asked): Record<string, unknown> {
  return {
    name: `${prefix}${kind.webhook}`,
    admissionReviewVersions: ['v1'],
    clientConfig: { service: { namespace: service.namespace, name: service.name, path: reviewPath(kind), port: 443 } },
    rules: [
      {
        apiGroups: [kind.group],
        apiVersions: [kind.version],
        operations,
        resources: [kind.plural],
        scope: kind.namespaced ? 'Namespaced' : 'Cluster',
      },
    ],
    matchConditions: [condition],
    matchPolicy: 'Equivalent',
    sideEffects: 'None',
    failurePolicy: kind.failurePolicy,
    timeoutSeconds: TIMEOUT_SECONDS,
  };
}
