import { IdentityError } from '../../core/errors.ts';
import type { Selector as ProtoSelector } from '../../proto/gen/spire/api/types/selector_pb.ts';
import type { Selector } from '../model.ts';

/** Reads selectors. @throws IdentityError `invalid_argument`, naming the selector by its index in `field` */
export function selectorsFromProto(protos: readonly ProtoSelector[], field = 'selectors'): readonly Selector[] {
  return protos.map(({ type, value }, index) => {
    const fault = selectorFault(type, value);
    if (fault !== undefined) throw new IdentityError('invalid_argument', fault, { field: `${field}[${index}]` });
    return { type, value };
  });
}

function selectorFault(type: string, value: string): string | undefined {
  if (type === '') return 'missing selector type';
  if (type.includes(':')) return "selector type contains ':'";
  return value === '' ? 'missing selector value' : undefined;
}

/** Selectors as the fields of their messages. */
export function selectorsToProto(selectors: readonly Selector[]): { type: string; value: string }[] {
  return selectors.map(({ type, value }) => ({ type, value }));
}
