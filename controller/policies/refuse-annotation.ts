import { DecodeError, type Fault } from '../../core/decode.ts';
import type { ResourceMeta } from '../../policy/schema/resource-meta.ts';
import type { PolicyObject } from './policy-object.ts';

/** With the value `true`: a change that would deny recorded calls, or may, is refused. */
export const REFUSE_ANNOTATION = 'countersign.dev/refuse-if-denies';

const GROUP = 'countersign.dev/';

/** Where it stands in an object. */
export const REFUSE_FIELD = `metadata.annotations[${REFUSE_ANNOTATION}]`;

/** What is said of the tokens of a RequestAuthentication: nobody recorded which calls had one. */
export const TOKENS_UNKNOWN = 'calls without a token will be denied, and recorded calls do not say which of them had one';

/** Whether the object asks to be refused where it denies; one of mode DryRun denies nothing. */
export function mayRefuse({ meta, policy }: PolicyObject): boolean {
  return meta.annotations[REFUSE_ANNOTATION] === 'true' && policy?.mode !== 'DryRun';
}

/** A value that is neither `true` nor `false`: whoever wrote `yes` would believe to be safe. */
export function annotationFaults({ annotations }: ResourceMeta): readonly Fault[] {
  const value = annotations[REFUSE_ANNOTATION];
  if (value === undefined || value === 'true' || value === 'false') return [];
  return [{ path: REFUSE_FIELD, message: `must be "true" or "false", is ${JSON.stringify(value)}` }];
}

/** Annotations of our group that mean nothing: they may be misspelt. */
export function annotationRemarks({
  annotations = {},
}: {
  readonly annotations?: Readonly<Record<string, string>>;
}): readonly string[] {
  return Object.keys(annotations)
    .filter((name) => name.startsWith(GROUP) && name !== REFUSE_ANNOTATION)
    .map((name) => `the annotation ${name} means nothing; there is ${REFUSE_ANNOTATION}`);
}

/** @throws DecodeError as {@link annotationFaults} says */
export function requireAnnotations(meta: ResourceMeta): void {
  const faults = annotationFaults(meta);
  if (faults.length > 0) throw new DecodeError(faults);
}
