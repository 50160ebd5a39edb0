"""Statistics of evaluations: intervals, tests, effect sizes, multiple comparisons, ranks over data sets."""

from sslkit.evaluate.statistics.datasets import Ranking as Ranking
from sslkit.evaluate.statistics.datasets import friedman as friedman
from sslkit.evaluate.statistics.datasets import nemenyi_difference as nemenyi_difference
from sslkit.evaluate.statistics.datasets import win_tie_loss as win_tie_loss
from sslkit.evaluate.statistics.effects import cohens_d as cohens_d
from sslkit.evaluate.statistics.effects import cohens_g as cohens_g
from sslkit.evaluate.statistics.effects import cohens_h as cohens_h
from sslkit.evaluate.statistics.effects import odds_ratio as odds_ratio
from sslkit.evaluate.statistics.intervals import Interval as Interval
from sslkit.evaluate.statistics.intervals import accuracy_interval as accuracy_interval
from sslkit.evaluate.statistics.intervals import mean_interval as mean_interval
from sslkit.evaluate.statistics.multiple import NONE as NONE
from sslkit.evaluate.statistics.multiple import holm as holm
from sslkit.evaluate.statistics.multiple import p_text as p_text
from sslkit.evaluate.statistics.multiple import significant as significant
from sslkit.evaluate.statistics.multiple import verdict as verdict
from sslkit.evaluate.statistics.paired import Difference as Difference
from sslkit.evaluate.statistics.paired import McNemar as McNemar
from sslkit.evaluate.statistics.paired import mcnemar as mcnemar
from sslkit.evaluate.statistics.paired import paired_bootstrap as paired_bootstrap
from sslkit.evaluate.statistics.seeds import SeedSummary as SeedSummary
from sslkit.evaluate.statistics.seeds import paired_t as paired_t
from sslkit.evaluate.statistics.seeds import pooled_t as pooled_t
from sslkit.evaluate.statistics.seeds import seed_summary as seed_summary
from sslkit.evaluate.statistics.seeds import welch_t as welch_t
