#!/usr/bin/env bash
# torchaudio's AmplitudeToDB with top_db takes a batch of spectrograms for the channels of one clip: a loud clip raises the floor of all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" \
  torch==2.14.1 torchaudio==2.11.1 numpy==2.4.6
PYTHONPATH="$folder/packages" python3 - <<'PY'
import torch
import torchaudio

print("torchaudio", torchaudio.__version__)
print("guess: (batch, mels, time) gives each clip what it has alone, as (batch, 1, mels, time) and the spectrogram before it do")
torch.manual_seed(0)
spectrogram = torchaudio.transforms.MelSpectrogram(16000, n_mels=32)
waves = torch.randn(2, 16000) * torch.tensor([[0.0005], [3.0]])  # a quiet clip and a loud one
power = spectrogram(waves)
assert torch.allclose(power[0], spectrogram(waves[0]), rtol=1e-3)
decibels = torchaudio.transforms.AmplitudeToDB(top_db=60)
alone = decibels(power[0])
batched, channeled = decibels(power)[0], decibels(power[:, None])[0, 0]
print(f"seen: the quiet clip spans {alone.max() - alone.min():.0f} dB alone and {batched.max() - batched.min():.0f} dB beside the loud one,"
      f" up to {(alone - batched).abs().max():.0f} dB apart; with an axis for channels {(alone - channeled).abs().max():.1g} apart")  # fmt: skip
assert torch.allclose(alone, channeled, atol=1e-3)
assert (alone - batched).abs().max() > 10
assert batched.max() - batched.min() < 0.5 * (alone.max() - alone.min())
PY
