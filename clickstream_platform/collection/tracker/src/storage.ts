/** What is kept in the browser: identifiers and the choice under one key, waiting events under another. */

import type { Consent } from '../clickstream';

export interface Memory {
  /** Visitor identifier. */
  v?: string;
  /** Session identifier. */
  s?: string;
  /** Time of the latest event, epoch ms. */
  t?: number;
  /** The visitor's choice. */
  c?: Consent | false;
}

export const MEMORY = 'clickstream';
export const QUEUE = 'clickstream_queue';

export const load = (key: string): any => {
  try {
    return JSON.parse(localStorage[key]);
  } catch {}
};

/** Store a value, or remove the key if there is none; true if that worked. */
export const store = (key: string, value?: object | false): boolean | void => {
  try {
    value ? (localStorage[key] = JSON.stringify(value)) : delete localStorage[key];
    return true;
  } catch {}
};

export const read = (): Memory => load(MEMORY) || {};

/** 128 random bits; `crypto.randomUUID` exists on pages over TLS only. */
export const random_id = (): string =>
  crypto
    .getRandomValues(new Uint32Array(4))
    .reduce((id, word) => id + word.toString(36), '');
