"""Statistics of evaluations: intervals, tests, effect sizes, multiple comparisons, ranks over data sets."""

from sslkit.statistics.datasets import Ranking as Ranking
from sslkit.statistics.datasets import friedman as friedman
from sslkit.statistics.datasets import nemenyi_difference as nemenyi_difference
from sslkit.statistics.datasets import win_tie_loss as win_tie_loss
from sslkit.statistics.effect_sizes import cohens_d as cohens_d
from sslkit.statistics.effect_sizes import cohens_g as cohens_g
from sslkit.statistics.effect_sizes import cohens_h as cohens_h
from sslkit.statistics.effect_sizes import odds_ratio as odds_ratio
from sslkit.statistics.intervals import Interval as Interval
from sslkit.statistics.intervals import accuracy_interval as accuracy_interval
from sslkit.statistics.intervals import mean_interval as mean_interval
from sslkit.statistics.multiple_comparisons import NONE as NONE
from sslkit.statistics.multiple_comparisons import holm as holm
from sslkit.statistics.multiple_comparisons import p_text as p_text
from sslkit.statistics.multiple_comparisons import significant as significant
from sslkit.statistics.multiple_comparisons import verdict as verdict
from sslkit.statistics.paired_tests import Difference as Difference
from sslkit.statistics.paired_tests import McNemar as McNemar
from sslkit.statistics.paired_tests import mcnemar as mcnemar
from sslkit.statistics.paired_tests import paired_bootstrap as paired_bootstrap
from sslkit.statistics.seed_summary import SeedSummary as SeedSummary
from sslkit.statistics.seed_summary import paired_t as paired_t
from sslkit.statistics.seed_summary import pooled_t as pooled_t
from sslkit.statistics.seed_summary import seed_summary as seed_summary
from sslkit.statistics.seed_summary import welch_t as welch_t
