import { object, optional, required } from './collections.ts';
import { text, timestamp, wholeNumber, word } from './scalars.ts';
import type { ValueOf } from './schema.ts';

/** One observation about a resource (Kubernetes' `metav1.Condition`). */
export const condition = object({
  type: required('What is observed: `Ready`, `Accepted`.', text({ maxLength: 316, pattern: /^[A-Za-z]+$/, meaning: 'a word' })),
  status: required('Whether it is so.', word('True', 'False', 'Unknown')),
  observedGeneration: optional('The generation of the resource that was judged.', wholeNumber({ min: 0 })),
  lastTransitionTime: required('When `status` last changed.', timestamp),
  reason: required(
    'Why, as one word for programs.',
    text({ maxLength: 1024, pattern: /^[A-Za-z][A-Za-z0-9_]*$/, meaning: 'a word' }),
  ),
  message: required('Why, for people.', text({ maxLength: 32_768, allowEmpty: true })),
});

/** One observation about a resource. */
export type Condition = ValueOf<typeof condition>;
