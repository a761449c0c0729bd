"""MMAD (Jiang et al., ICLR 2025): multiple-choice questions about industrial pictures, scored two ways."""
