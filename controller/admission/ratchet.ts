import { isRecord } from '../../runtime/kubernetes/errors.ts';
import type { Findings } from './findings.ts';

/** An update of an object. */
export interface Change {
  readonly object: unknown;
  readonly oldObject: unknown;
}

/**
 * What an update is to be refused for: not for faults that were there before in a field that it leaves as it was, so that an
 * object which is already bad can be repaired in steps. Those become warnings.
 */
export function ratchet(after: Findings, before: Findings, { object, oldObject }: Change): Findings {
  const known = new Set(before.faults.map(({ field, message }) => `${field}\n${message}`));
  const isCarried = ({ field, message }: Findings['faults'][number]): boolean =>
    known.has(`${field}\n${message}`) && sameValue(valueAt(object, field), valueAt(oldObject, field));
  const carried = after.faults.filter(isCarried).map(({ field, message }) => {
    return `still wrong, as before: ${field === '' ? message : `${field}: ${message}`}`;
  });
  return { faults: after.faults.filter((fault) => !isCarried(fault)), warnings: [...carried, ...after.warnings] };
}

function sameValue(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** The value at a path such as `spec.dnsNameTemplates[0]`; for no path nothing, which is the same in both. */
function valueAt(object: unknown, path: string): unknown {
  let value = path === '' ? undefined : object;
  for (const step of path.split(/[.[\]]+/).filter((each) => each !== '')) {
    if (Array.isArray(value)) value = value[Number(step)];
    else value = isRecord(value) ? value[step] : undefined;
  }
  return value;
}
