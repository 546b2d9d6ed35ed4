/** A new sync, step by step: sides, tables, data, fields, existing data, and the preview that starts it. */
import { Button, Group, Stepper, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { useParams } from 'react-router';
import { Page } from '../../parts/Page';
import { Panel } from '../../parts/Panel';
import { Told } from '../../parts/Told';
import { missing, STEPS, type Draft } from './draft';
import { draftQuery, useSaving, type Saved } from './saving';
import { Sides } from './Sides';
import { Tables } from './Tables';
import { Fields } from './Fields';
import { Data } from './Data';
import { ExistingData } from './ExistingData';
import { PreviewStep } from './Preview';
import classes from './Wizard.module.css';

export type StepProps = { draft: Draft; change: (draft: Draft) => void };

/** What was begun is read once; from then on the page is ahead of the relay. */
export default function Wizard() {
  const { id } = useParams();
  const saved = useQuery(draftQuery(id));
  return <Told query={saved}>{(known) => <Steps key={id ?? 'new'} saved={known} />}</Told>;
}

function Steps({ saved }: { saved: Saved }) {
  const [draft, setDraft] = useState(saved.draft);
  const [step, setStep] = useState(0);
  const saving = useSaving(saved);
  const lacks = missing(draft, step);
  const Step = [Sides, Tables, Data, Fields, ExistingData][step];
  useEffect(() => {
    document.getElementById('content')?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }, [step]);
  const go = (to: number) => {
    saving.save(draft);
    setStep(to);
  };
  return (
    <Page title="New sync" about={saving.words}>
      <Stepper
        active={step}
        onStepClick={go}
        size="sm"
        wrap={false}
        iconSize={30}
        classNames={{ stepLabel: classes.label ?? '', step: classes.step ?? '' }}
      >
        {STEPS.map((label, at) => (
          <Stepper.Step
            key={label}
            label={label}
            allowStepSelect={at <= step || missing(draft, at - 1) === undefined}
          />
        ))}
      </Stepper>
      {Step ? (
        <Panel>
          <Step draft={draft} change={setDraft} />
        </Panel>
      ) : (
        <PreviewStep draft={draft} onStarted={() => saving.drop(draft.name)} />
      )}
      <Group justify="space-between">
        <Button variant="default" onClick={() => go(step - 1)} disabled={step === 0}>
          Back
        </Button>
        <Group gap="md">
          {lacks && (
            <Text size="sm" c="dimmed" role="status">
              {lacks}
            </Text>
          )}
          {Step && (
            <Button onClick={() => go(step + 1)} disabled={lacks !== undefined}>
              Continue
            </Button>
          )}
        </Group>
      </Group>
    </Page>
  );
}
